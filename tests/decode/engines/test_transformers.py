"""The engine of transformers, against a plain loop and transformers' own search."""

from __future__ import annotations

import contextlib
import gc
import random
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_part.decode.budget import Budget
from espnet_part.decode.engines import transformers
from espnet_part.decode.engines.base import Answer, Prompt
from espnet_part.decode.engines.transformers import Engine, rows
from espnet_part.decode.search import Search
from espnet_part.model.config import LLMConf
from espnet_part.model.llm import LLM
from tests.model.tiny import make_batch, make_model

SMALL = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {"num_hidden_layers": 2},
    "mistral": {"num_hidden_layers": 2, "sliding_window": 8},
    # layers that see a window and layers that see all, in turns
    "gemma3_text": {"num_hidden_layers": 4, "sliding_window": 8, "sliding_window_pattern": 2},
    "gemma2": {"num_hidden_layers": 2, "sliding_window": 8},
    "gpt_neox": {"num_hidden_layers": 2},
}


def make_llm(family: str, seed: int = 0, **more: Any) -> LLM:
    """An LLM with weights so large that it looks at what it reads, and rows end at times."""
    torch.manual_seed(seed)
    conf = {**SMALL, "model_type": family, **FAMILIES.get(family, {}), **more}
    attention = "eager" if family in ("gemma2", "mamba") else "sdpa"
    llm = LLM.from_conf(LLMConf(config=conf, dtype="float32", attention=attention)).eval()
    for parameter in llm.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(6)
    llm.end_token_ids = [*range(40, 44)]
    return llm


def make_prompts(count: int, dim: int, seed: int = 0, longest: int = 40) -> list[Prompt]:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    return [
        Prompt(torch.randn(rng.randint(1, longest), dim), rng.choice([1, 2, 5, 30, 90]))
        for _ in range(count)
    ]


def make_engine(llm: LLM, slots: int, bins: int | None = None, **search: Any) -> Engine:
    return Engine(llm, Search(**search), Budget(slots, bins), torch.inference_mode)


def answers(engine: Engine, prompts: Sequence[Prompt | Exception | None]) -> list[Any]:
    found = list(engine.generate(prompts))
    assert sorted(number for number, _ in found) == list(range(len(found)))
    return [answer for _, answer in sorted(found, key=lambda item: item[0])]


@torch.no_grad()
def alone(llm: LLM, prompt: Prompt, beam_size: int = 1, length_penalty: float = 1.0) -> Answer:
    """transformers' own search over one prompt."""
    mask = torch.ones(1, len(prompt.embeddings), dtype=torch.bool)
    limit = torch.tensor([prompt.limit])
    ids, scores = llm.generate(prompt.embeddings[None], mask, limit, beam_size, length_penalty)
    return Answer(ids[0], scores[0])


@torch.no_grad()
def plain(llm: LLM, prompt: Prompt) -> list[int]:
    """Greedy search without a cache, without padding and without transformers' generate."""
    embeddings = prompt.embeddings[None]
    out: list[int] = []
    while len(out) < prompt.limit:
        length = embeddings.shape[1]
        mask = torch.ones(1, length, dtype=torch.bool)
        hidden = llm.hidden(embeddings, mask, torch.arange(length)[None])
        token = llm.logits(hidden[:, -1]).argmax(-1)
        if int(token) in llm.end_token_ids:
            break
        out.append(int(token))
        embeddings = torch.cat([embeddings, llm.embedding(token)[None]], dim=1)
    return out


def assert_same(found: Sequence[Any], wanted: Sequence[Answer]) -> None:
    assert [answer.tokens for answer in found] == [answer.tokens for answer in wanted]
    scores = [answer.score for answer in wanted]
    assert [answer.score for answer in found] == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_peer_defect_01_greedy_search_equals_transformers_with_any_number_of_slots(
    family: str,
) -> None:
    llm = make_llm(family)
    prompts = make_prompts(30, llm.dim)
    wanted = [alone(llm, prompt) for prompt in prompts]
    assert len({len(answer.tokens) for answer in wanted}) > 4  # rows come and go
    for slots in (1, 2, 7, 40):
        engine = make_engine(llm, slots)
        assert engine.continuous
        assert_same(answers(engine, prompts), wanted)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whoever_comes_and_goes_the_answers_are_those_of_a_plain_loop(data: st.DataObject) -> None:
    llm = make_llm("mistral", num_hidden_layers=1)
    prompts = [
        Prompt(torch.randn(length, llm.dim), limit)
        for length, limit in data.draw(
            st.lists(st.tuples(st.integers(1, 90), st.integers(1, 25)), min_size=1, max_size=12)
        )
    ]
    pauses = data.draw(st.sets(st.integers(0, len(prompts))))
    stream: list[Prompt | Exception | None] = []
    for number, prompt in enumerate(prompts):
        stream += [None] * (2 if number in pauses else 0) + [prompt]
    budget = data.draw(
        st.builds(Budget, st.integers(1, 5)) | st.builds(Budget, st.just(1), st.integers(1, 400))
    )
    engine = Engine(llm, Search(), budget, torch.inference_mode)
    with watched() as (steps, held):
        found = answers(engine, stream)
    assert [answer.tokens for answer in found] == [plain(llm, prompt) for prompt in prompts]
    if budget.batch_bins is not None:
        assert all(rows * longest <= budget.batch_bins for rows, longest in steps if rows > 1)
        largest = max(budget.batch_bins, *(prompt.positions for prompt in prompts))
        assert all(most * (capacity - rows._ROOM) <= largest for most, capacity in held)


@contextlib.contextmanager
def watched() -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """What an engine computes meanwhile, (rows, positions of the longest) of each step and each reading;
    and what it keeps, (rows, positions of each)."""
    steps: list[tuple[int, int]] = []
    held: list[tuple[int, int]] = []
    hidden, move = LLM.hidden, rows._Layer.move

    def step(self: LLM, embeddings: Tensor, mask: Tensor, *more: Any) -> Tensor:
        steps.append((len(mask), int(mask.sum(1).max())))
        return hidden(self, embeddings, mask, *more)

    def watch(self: Any, *args: Any) -> None:
        move(self, *args)
        held.append((self.most, self.capacity))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LLM, "hidden", step)
        patch.setattr(rows._Layer, "move", watch)
        yield steps, held


def test_as_many_rows_as_the_budget_has_positions_for_and_a_larger_one_alone() -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    sizes = [(90, 30)] + [(30, 10)] * 6 + [(10, 10)] * 20  # the first has more than the budget
    prompts = [Prompt(torch.randn(length, llm.dim), limit) for length, limit in sizes]
    with watched() as (steps, _):
        found = answers(make_engine(llm, 1, bins=119), prompts)
    assert_same(found, [alone(llm, prompt) for prompt in prompts])
    most = {longest: 0 for _, longest in steps}
    for count, longest in steps:
        most[longest] = max(most[longest], count)
    assert {most[longest] for longest in range(90, 119)} == {1}
    assert {most[longest] for longest in range(30, 39)} == {2}
    assert {most[longest] for longest in range(10, 19)} == {5}


@pytest.mark.parametrize("beam_size", [1, 3])
def test_each_hypothesis_of_a_beam_counts(beam_size: int) -> None:
    llm = make_llm("qwen2")
    prompts = [Prompt(torch.randn(12, llm.dim), 8) for _ in range(7)]
    wanted = [alone(llm, prompt, beam_size) for prompt in prompts]
    generate, counts = llm.generate, []

    def watch(embeddings: Tensor, *more: Any) -> Any:
        counts.append(len(embeddings) * more[2])
        return generate(embeddings, *more)

    llm.generate = watch  # type: ignore[method-assign]
    engine = make_engine(llm, 1, bins=6 * 20, beam_size=beam_size)
    engine.continuous = False
    assert_same(answers(engine, prompts), wanted)
    assert counts == {1: [6, 1], 3: [6, 6, 6, 3]}[beam_size]


def test_peer_defect_07_decoding_stops_at_any_end_token() -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    (prompt,) = make_prompts(1, llm.dim)
    prompt = prompt._replace(limit=12)
    (free,) = answers(make_engine(llm, 1), [prompt])
    for place in (0, 4):
        stop = free.tokens[place]
        llm.end_token_ids = [next(n for n in range(61) if n not in free.tokens), stop]
        (found,) = answers(make_engine(llm, 1), [prompt])
        assert found.tokens == free.tokens[: free.tokens.index(stop)]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_peer_defect_01_beam_search_with_any_number_of_slots(length_penalty: float) -> None:
    llm = make_llm("qwen2")
    prompts = [prompt._replace(limit=min(prompt.limit, 8)) for prompt in make_prompts(7, llm.dim)]
    wanted = [alone(llm, prompt, 3, length_penalty) for prompt in prompts]
    for slots in (1, 3, 8):
        engine = make_engine(llm, slots, beam_size=3, length_penalty=length_penalty)
        assert_same(answers(engine, prompts), wanted)
    for prompt, answer in zip(prompts, wanted, strict=True):
        if len(answer.tokens) == prompt.limit:  # else which end token was taken is not told
            total = log_probability(llm, prompt, answer.tokens)
            assert answer.score == pytest.approx(
                total / len(answer.tokens) ** length_penalty, abs=1e-3
            )


@torch.no_grad()
def log_probability(llm: LLM, prompt: Prompt, tokens: list[int]) -> float:
    embeddings = torch.cat([prompt.embeddings, llm.embedding(torch.tensor(tokens))])[None]
    length = embeddings.shape[1]
    mask = torch.ones(1, length, dtype=torch.bool)
    hidden = llm.hidden(embeddings, mask, torch.arange(length)[None])
    first = len(prompt.embeddings) - 1
    scores = llm.logits(hidden[0, first:-1]).log_softmax(-1)
    return float(scores[range(len(tokens)), tokens].sum())


@pytest.mark.parametrize(
    "conf",
    [
        {"model_type": "mamba", "num_hidden_layers": 2, "state_size": 8},
        {"model_type": "lfm2", "num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
    ],
    ids=["mamba", "lfm2"],
)
def test_what_keeps_a_state_is_decoded_in_whole_batches(conf: dict[str, Any]) -> None:
    llm = make_llm(conf["model_type"], **conf)
    prompts = [prompt._replace(limit=min(prompt.limit, 5)) for prompt in make_prompts(3, llm.dim)]
    engine = make_engine(llm, 1)
    assert not engine.continuous
    assert_same(answers(engine, prompts), [alone(llm, prompt) for prompt in prompts])


def test_prompts_are_asked_for_when_there_is_room() -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    asked: list[int] = []

    def stream() -> Iterator[Prompt]:
        for number, prompt in enumerate(make_prompts(12, llm.dim)):
            asked.append(number)
            yield prompt._replace(limit=3 + number)

    done = 0
    for _ in make_engine(llm, 4).generate(stream()):
        done += 1
        assert len(asked) <= done + 4 + 4  # those that end at the same step are told one by one
    assert done == len(asked) == 12


def test_short_answers_overtake_long_ones() -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    prompts = [prompt._replace(limit=2) for prompt in make_prompts(9, llm.dim)]
    prompts[0] = prompts[0]._replace(limit=60)
    order = [number for number, _ in make_engine(llm, 3).generate(prompts)]
    assert order[-1] == 0


@pytest.mark.parametrize("beam_size", [1, 2])
def test_a_prompt_that_fails_harms_no_other(beam_size: int) -> None:
    llm = make_llm("qwen2")
    good = [prompt._replace(limit=min(prompt.limit, 6)) for prompt in make_prompts(6, llm.dim)]
    bad = Prompt(torch.randn(5, llm.dim + 1), 6)
    error = ValueError("could not be read")
    found = answers(make_engine(llm, 3, beam_size=beam_size), [*good[:2], bad, error, *good[2:]])
    assert found[3] is error
    assert "RuntimeError" in str(found[2])
    assert_same([*found[:2], *found[4:]], [alone(llm, prompt, beam_size) for prompt in good])


@pytest.mark.parametrize("bins", [None, 10_000])
def test_rows_that_fail_in_the_middle_are_halved_and_one_is_named(
    bins: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory that has room for the answers of two rows, and never for a certain one."""
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    prompts = [prompt._replace(limit=5) for prompt in make_prompts(6, llm.dim)]
    wanted = [alone(llm, prompt) for prompt in prompts]
    cursed = set(wanted[3].tokens[1:3])
    assert not any(cursed & set(answer.tokens[:4]) for n, answer in enumerate(wanted) if n != 3)
    hidden = LLM.hidden

    def step(self: LLM, embeddings: Tensor, mask: Tensor, *more: Any) -> Tensor:
        if embeddings.shape[1] == 1 and mask.shape[1] > 1:
            if len(embeddings) > 2:
                raise torch.OutOfMemoryError("not enough")
            table = self.embedding(torch.tensor(sorted(cursed)))
            if any(torch.equal(row[0], token) for row in embeddings for token in table):
                raise RuntimeError("does not\nlike it")
        return hidden(self, embeddings, mask, *more)

    monkeypatch.setattr(LLM, "hidden", step)
    engine = make_engine(llm, 6, bins)
    found = answers(engine, prompts)
    assert str(found.pop(3)) == "RuntimeError: does not like it"
    if bins is None:
        assert engine.budget.batch_size in (1, 3)
    else:  # half of the six rows', or of three of them
        longest = max(prompt.positions for prompt in prompts)
        assert engine.budget.batch_bins and engine.budget.batch_bins <= 3 * longest
    assert_same(found, [answer for n, answer in enumerate(wanted) if n != 3])


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[rows.Rows]]:
    """The caches of all rows that an engine makes."""
    made: list[weakref.ref[rows.Rows]] = []
    init = rows.Rows.__init__

    def watch(self: rows.Rows) -> None:
        init(self)
        made.append(weakref.ref(self))

    monkeypatch.setattr(rows.Rows, "__init__", watch)
    return made


@pytest.mark.parametrize(
    ("lengths", "limits"),
    [
        pytest.param([9] * 6, [80] * 6, id="for answers"),
        pytest.param([9] * 6 + [150, 9], [2] * 3 + [30] * 5, id="for a prompt"),
    ],
)
def test_where_the_cache_cannot_grow_fewer_rows_are_answered_and_none_is_lost(
    lengths: list[int],
    limits: list[int],
    caches: list[weakref.ref[rows.Rows]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    sizes = zip(lengths, limits, strict=True)
    prompts = [Prompt(torch.randn(length, llm.dim), limit) for length, limit in sizes]
    wanted = [alone(llm, prompt) for prompt in prompts]
    move = rows._Layer.move
    held: list[int] = []

    def narrow(self: Any, count: int, *more: Any) -> None:
        if count > 2:
            raise torch.OutOfMemoryError("not enough")
        move(self, count, *more)

    def look() -> None:
        held.append(sum(cache() is not None for cache in caches))

    monkeypatch.setattr(rows._Layer, "move", narrow)
    monkeypatch.setattr(transformers, "free_memory", look)
    engine = make_engine(llm, 6)
    gc.disable()
    try:
        assert_same(answers(engine, prompts), wanted)
    finally:
        gc.enable()
    assert held and not any(held)  # what failed holds no memory when it is tried again
    assert engine.budget.batch_size < 6


def test_what_cannot_be_read_beside_others_is_read_without_them(
    caches: list[weakref.ref[rows.Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    prompts = [Prompt(torch.randn(9, llm.dim), 3 + n) for n in range(9)]
    wanted = [alone(llm, prompt) for prompt in prompts]
    hidden, refused = LLM.hidden, 0

    def narrow(self: LLM, embeddings: Tensor, mask: Tensor, *more: Any) -> Tensor:
        nonlocal refused
        reads = mask.shape[1] == embeddings.shape[1]
        if reads and len(embeddings) + sum(len(c() or ()) for c in caches) > 3:
            refused += 1
            raise torch.OutOfMemoryError("not enough")
        return hidden(self, embeddings, mask, *more)

    monkeypatch.setattr(LLM, "hidden", narrow)
    assert_same(answers(make_engine(llm, 6), prompts), wanted)
    assert refused == 2  # the first six together, and the seventh beside five


def test_a_prompt_that_is_not_finite_harms_no_other() -> None:
    llm = make_llm("qwen2")
    prompts = [prompt._replace(limit=6) for prompt in make_prompts(12, llm.dim)]
    bad = Prompt(torch.full((40, llm.dim), torch.nan), 3)
    found = answers(make_engine(llm, 3), [bad, *prompts])
    assert_same(found[1:], [alone(llm, prompt) for prompt in prompts])


@torch.no_grad()
def test_the_model_s_prompts_are_what_it_reads() -> None:
    model = make_model()
    batch = make_batch([[1000 + 700 * i] if i % 3 else [] for i in range(5)])
    read = model.read(**batch)[0]
    for row, prompt in enumerate(model.prompts(**batch)):
        assert torch.equal(prompt, read.embeddings[row, read.mask[row]])


def test_memory_does_not_grow_with_steps_times_vocabulary() -> None:
    llm = make_llm("qwen2")
    llm.end_token_ids = []
    held: list[int] = []

    def look(*_: Any) -> None:
        tensors = [o for o in gc.get_objects() if type(o) is Tensor and o.shape[-1:] == (61,)]
        held.append(sum(t.numel() for t in tensors))

    llm.model.get_output_embeddings().register_forward_hook(look)
    answers(make_engine(llm, 2), [Prompt(torch.randn(4, llm.dim), 30)] * 2)
    assert len(held) >= 30 and max(held[20:30]) <= max(held[:10])


def test_the_cache_does_not_grow_with_the_number_of_prompts() -> None:
    """Positions that are over are used again."""
    llm = make_llm("qwen2", num_hidden_layers=1)
    llm.end_token_ids = []
    largest = 0
    move = rows._Layer.move

    def watch(self: Any, *args: Any) -> None:
        nonlocal largest
        move(self, *args)
        largest = max(largest, self.capacity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows._Layer, "move", watch)
        prompts = [Prompt(torch.randn(10, llm.dim), 20 + n % 7) for n in range(60)]
        assert len(answers(make_engine(llm, 3), prompts)) == 60
    assert largest < 400
