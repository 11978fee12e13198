from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data.batching import (
    Cost,
    Lengths,
    micro_batches_needed,
    padding_share,
    plan_steps,
    split_step,
)


def make_cost(pairs, encoder_cost=1.0) -> Cost:
    llm, encoder = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Cost(Lengths(llm, encoder), encoder_cost)


def like_corpus(count: int, text_share: float = 0.0) -> Cost:
    """Lengths of clips of mean 7.1 s: 50 encoder frames and 12.5 LLM positions a second."""
    rng = np.random.default_rng(0)
    seconds = np.clip(rng.gamma(4, 7.1 / 4, count), 0.8, 30)
    encoder = (50 * seconds).astype(int)
    text = 20 + (seconds * 3.5 * rng.uniform(0.6, 1.4, count)).astype(int)
    llm = text + (12.5 * seconds).astype(int)
    is_text = rng.random(count) < text_share
    return make_cost(
        np.stack([np.where(is_text, 2 * text, llm), np.where(is_text, 0, encoder)], axis=1), 0.5
    )


examples = st.lists(
    st.tuples(st.integers(1, 300), st.one_of(st.just(0), st.integers(1, 1500))),
    min_size=1,
    max_size=60,
)


def test_cost():
    cost = make_cost([(10, 100), (20, 0), (30, 50)], encoder_cost=0.5)
    assert cost([0]) == 10 + 50
    assert cost([0, 1]) == 2 * 20 + 0.5 * 100
    assert cost([0, 1, 2]) == 3 * 30 + 0.5 * 2 * 100
    assert cost([]) == 0


@settings(max_examples=100, deadline=None)
@given(
    pairs=examples,
    budget=st.integers(50, 5000),
    most=st.one_of(st.none(), st.integers(1, 10)),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)
def test_steps_hold_everything_once_within_budget(pairs, budget, most, seed):
    cost = make_cost(pairs)
    indices = np.arange(len(pairs))

    def plan() -> list[np.ndarray]:
        rng = None if seed is None else np.random.default_rng(seed)
        return plan_steps(indices, cost, budget=budget, max_examples=most, rng=rng)

    steps = plan()
    assert sorted(np.concatenate(steps)) == indices.tolist()
    for step in steps:
        assert len(step) == 1 or cost(step) <= budget
        assert most is None or len(step) <= most
    assert [s.tolist() for s in steps] == [s.tolist() for s in plan()]


@settings(max_examples=100, deadline=None)
@given(pairs=examples, parts=st.integers(1, 12))
def test_parts_hold_everything_once_and_are_balanced(pairs, parts):
    cost = make_cost(pairs)
    split = split_step(np.arange(len(pairs)), parts, cost)
    assert len(split) == parts
    assert sorted(np.concatenate(split)) == list(range(len(pairs)))
    assert sum(len(part) == 0 for part in split) == max(0, parts - len(pairs))


@settings(max_examples=100, deadline=None)
@given(
    pairs=examples,
    world=st.integers(1, 5),
    limit=st.integers(50, 5000),
    most=st.one_of(st.none(), st.integers(1, 10)),
)
def test_micro_batches_fit_a_gpu(pairs, world, limit, most):
    """Unless an example alone is larger, which no split can mend."""
    cost = make_cost(pairs)
    step = np.arange(len(pairs))
    count = micro_batches_needed(step, world, cost, limit, most)
    parts = split_step(step, world * count, cost, most)
    largest = max(limit, *(cost([n]) for n in step))
    assert sorted(np.concatenate(parts)) == step.tolist()
    assert all(cost(part) <= largest + 1e-3 for part in parts)
    assert all(most is None or len(part) <= most for part in parts)


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=2, max_size=9))
def test_dearest_of_two_parts_is_as_cheap_as_can_be(pairs):
    cost = make_cost(pairs)
    order = split_step(np.arange(len(pairs)), 1, cost)[0]
    best = min(max(cost(order[:n]), cost(order[n:])) for n in range(1, len(order)))
    split = split_step(np.arange(len(pairs)), 2, cost)
    assert max(map(cost, split)) <= best + 1e-3


def test_a_fixed_number_of_examples():
    cost = like_corpus(50)
    steps = plan_steps(np.arange(50), cost, max_examples=8, rng=np.random.default_rng(0))
    assert sorted(map(len, steps)) == [2] + [8] * 6
    assert [len(part) for part in split_step(steps[0], 1, cost)] == [len(steps[0])]


def test_epochs_and_seeds_differ():
    cost = like_corpus(100)
    rngs = [np.random.default_rng(key) for key in [(0, 0), (0, 1), (1, 0)]]
    plans = [
        [s.tolist() for s in plan_steps(np.arange(100), cost, budget=4000, rng=rng)] for rng in rngs
    ]
    assert all(one != other for one, other in itertools.combinations(plans, 2))


@pytest.mark.parametrize("text_share", [0.0, 0.3])
@pytest.mark.parametrize(("count", "budget", "parts"), [(96, 8000, 4), (5000, 16000, 1)])
def test_padding_share_is_below_a_tenth(text_share, count, budget, parts):
    cost = like_corpus(count, text_share)
    steps = plan_steps(np.arange(count), cost, budget=budget, rng=np.random.default_rng(0))
    batches = [part for step in steps for part in split_step(step, parts, cost)]
    assert padding_share(batches, cost.lengths.encoder) < 0.1
    assert padding_share(batches, cost.lengths.llm) < 0.1


def test_empty_and_wrong():
    cost = make_cost([(1, 1)])
    assert plan_steps([], cost, budget=5) == []
    with pytest.raises(ValueError, match="budget or a number"):
        plan_steps([0], cost)
    assert padding_share([], cost.lengths.llm) == 0.0
