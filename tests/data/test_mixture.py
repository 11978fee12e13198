from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data import mixture
from espnet_part.data.datadir import Example
from espnet_part.data.examples import ExampleList
from espnet_part.data.heard import Heard, Streams
from espnet_part.data.mixture import Mixture, _number, select
from espnet_part.data.shares import natural_shares
from espnet_part.errors import ConfigError, DataError


def make(**sizes: int) -> ExampleList:
    """asr_de=3 makes three German ASR examples."""
    made = []
    for name, size in sizes.items():
        task, lang = name.split("_")
        made += [Example(f"{name}{n}", task, lang, "en", "x") for n in range(size)]
    return ExampleList(made)


def mix(
    examples: ExampleList,
    tasks: Sequence[str] | Mapping[str, float],
    temperature: float = 1.0,
    seed: int = 0,
    where: str = "mixture",
    usable: np.ndarray | None = None,
) -> Mixture:
    members = select(examples, tasks, where, usable)
    sizes = {stratum: len(positions) for stratum, positions in members.items()}
    return Mixture(members, natural_shares(sizes, tasks, temperature, where), seed)


def drawn(mixture: Mixture, epoch: int, count: int) -> np.ndarray:
    """What an epoch of a run's first phase holds, of data with ``count`` examples."""
    size = mixture.size
    return mixture.draw(
        epoch * size, (epoch + 1) * size, NOTHING.setdefault(count, Heard.nothing(count))
    )


NOTHING: dict[int, Heard] = {}


def test_natural_sizes_hold_everything_once():
    examples = make(asr_de=7, asr_es=3, s2tt_de=5, t2tt_de=4)
    mixture = mix(examples, ["asr", "s2tt"])
    for epoch in range(4):
        assert sorted(drawn(mixture, epoch, len(examples))) == list(range(15))
    assert mixture.counts() == {
        ("asr", "de", "en"): 7,
        ("asr", "es", "en"): 3,
        ("s2tt", "de", "en"): 5,
    }


def test_weights_are_shares():
    examples = make(asr_de=80, s2tt_de=20)
    mixture = mix(examples, {"asr": 1, "s2tt": 3})
    assert mixture.counts() == {("asr", "de", "en"): 25, ("s2tt", "de", "en"): 75}


def test_one_task_with_any_weight_is_its_natural_size():
    examples = make(asr_de=7, asr_es=3)
    assert sorted(drawn(mix(examples, {"asr": 0.3}), 5, 10)) == list(range(10))


def test_temperature_evens_the_languages():
    examples = make(asr_de=900, asr_es=100)
    counts = mix(examples, ["asr"], temperature=2.0).counts()
    assert counts == {("asr", "de", "en"): 750, ("asr", "es", "en"): 250}  # 30 to 10


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    weights=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
    temperature=st.floats(0.5, 5),
    seed=st.integers(0, 2**31),
)
def test_nothing_is_left_unread(sizes, weights, temperature, seed):
    """Over epochs each example of a stratum is read as often as any other, give or take one."""
    langs = ["de", "es", "fr", "it"]
    examples = make(
        **{
            f"{task}_{lang}": n
            for task in ("asr", "s2tt")
            for n, lang in zip(sizes, langs, strict=False)
        }
    )
    mixture = mix(
        examples, {"asr": weights[0], "s2tt": weights[1]}, temperature=temperature, seed=seed
    )
    read = Counter(np.concatenate([drawn(mixture, e, len(examples)) for e in range(6)]).tolist())
    for members in mixture.members.values():
        times = [read[m] for m in members]
        assert max(times) - min(times) <= 1


def test_deterministic_in_seed_and_epoch():
    examples = make(asr_de=20, s2tt_de=20)
    one, again, other = (mix(examples, {"asr": 1, "s2tt": 2}, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(drawn(one, 3, 40), drawn(again, 3, 40))
    assert drawn(one, 3, 40).tolist() != drawn(one, 4, 40).tolist()
    assert drawn(one, 3, 40).tolist() != drawn(other, 3, 40).tolist()


def test_a_stratum_does_not_depend_on_the_others():
    few = drawn(mix(make(asr_de=9), ["asr"]), 0, 9)
    more = drawn(mix(make(asr_de=9, t2tt_es=4), ["asr", "t2tt"]), 0, 13)
    assert few.tolist() == [n for n in more if n < 9]


def test_unusable_examples_are_never_chosen():
    usable = np.array([True, False, True])
    assert sorted(drawn(mix(make(asr_de=3), ["asr"], usable=usable), 0, 3)) == [0, 2]
    with pytest.raises(ConfigError, match="no data for asr"):
        mix(make(asr_de=3), ["asr"], usable=np.zeros(3, dtype=bool))


def test_errors_name_phase_and_task():
    examples = make(asr_de=3)
    for tasks, temperature, message in [
        (["asr", "s2tt"], 1.0, "phase joint: tasks: no data for s2tt; the data hold asr"),
        ({"asr": 0.0}, 1.0, "phase joint: tasks: the weight of asr must be positive"),
        ([], 1.0, "phase joint: tasks: none"),
        (["asr"], 0.0, "phase joint: temperature"),
    ]:
        with pytest.raises(ConfigError, match=message):
            mix(examples, tasks, temperature, where="phase joint")


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    phases=st.lists(
        st.tuples(
            st.one_of(
                st.just(["asr"]),
                st.just(["asr", "s2tt"]),
                st.fixed_dictionaries({"asr": st.floats(0.1, 5), "s2tt": st.floats(0.1, 5)}),
            ),
            st.sampled_from([1.0, 2.0, 0.7]),
            st.integers(1, 60),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_one_stream_through_all_phases(sizes, phases):
    """Whatever the mixtures, nothing is heard twice before all else of its stratum was once.

    The state goes through JSON between any two phases, as between stages.
    """
    langs = ["de", "es", "fr"]
    examples = make(
        **{
            f"{task}_{lang}": n
            for task in ("asr", "s2tt")
            for n, lang in zip(sizes, langs, strict=False)
        }
    )
    streams = Streams(examples)
    heard, times = Heard.nothing(len(examples)), np.zeros(len(examples), dtype=int)
    for tasks, temperature, draws in phases:
        mixture = mix(examples, tasks, temperature, seed=3)
        np.add.at(times, mixture.draw(0, draws, heard), 1)
        if (
            isinstance(tasks, list) and temperature == 1
        ):  # every example once an epoch, wherever the stream stands
            assert sorted(mixture.draw(0, mixture.size, heard)) == sorted(
                np.concatenate(list(mixture.members.values()))
            )
        heard = mixture.heard_after(draws, heard, heard.pools + 1, np.empty(0, dtype=int))
        heard, anew = streams.from_json(json.loads(json.dumps(streams.to_json(heard))), "state")
        assert not anew
        for members in streams.members.values():
            assert times[members].max() - times[members].min() <= 1
            np.testing.assert_array_equal(
                heard.ahead[members], times[members] > times[members].min()
            )


def test_a_stream_of_other_utterances_begins_anew_and_is_named():
    before, after = make(asr_de=3, asr_es=4), make(asr_de=3, asr_es=5)
    streams = Streams(before)
    saved = streams.to_json(Heard(7, np.arange(7) % 2 == 0))
    heard, anew = Streams(after).from_json(saved, "state")
    assert anew == ["asr/es/en"]
    assert heard.pools == 7
    assert heard.ahead.tolist() == [True, False, True] + [False] * 5


@pytest.mark.parametrize("damage", [{}, {"pools": 1, "streams": {"asr/de/en": {"ids": 0}}}, []])
def test_a_damaged_state_is_an_error(damage):
    examples = make(asr_de=3)
    streams = Streams(examples)
    if damage:
        damage["streams"]["asr/de/en"]["ids"] = streams.ids["asr", "de", "en"]
    with pytest.raises(DataError, match=r"state: does not say what has been heard"):
        streams.from_json(damage, "state")


def test_the_order_of_a_pass_is_what_a_numbers_permutation_gives() -> None:
    """So that a training of an earlier version goes on with its own order, whatever saves memory here."""
    members = np.arange(3, 800, 2, dtype=np.int32)
    mixture = Mixture({("asr", "de", "de"): members}, {("asr", "de", "de"): 399.0}, seed=5)
    for ahead in (np.zeros(800, dtype=bool), np.arange(800) % 3 == 0):
        heard = Heard(2, ahead)
        assert (heard.ahead == ahead).all()
        drawn = mixture.draw(0, len(members), heard)
        key = [5, _number("asr/de/de"), 2, 0]
        order = members[np.random.default_rng(key).permutation(len(members))]
        assert drawn.tolist() == order[np.argsort(ahead[order], kind="stable")].tolist()


@pytest.mark.parametrize("count", [0, 1, 8, 1001])
def test_examples_are_asked_for_by_their_positions(count: int) -> None:
    rng = np.random.default_rng(count)
    ahead = rng.random(count) < 0.5
    positions = rng.permutation(count).astype(np.int32)
    assert Heard(0, ahead).is_ahead(positions).tolist() == ahead[positions].tolist()


@pytest.mark.parametrize("strata", [1, 400])
def test_what_is_kept_of_passes_does_not_grow_with_strata(strata: int) -> None:
    size = 400_000 // strata
    members = {
        ("asr", str(n), str(n)): np.arange(n * size, (n + 1) * size, dtype=np.int32)
        for n in range(strata)
    }
    drawn, heard = Mixture(members, dict.fromkeys(members, float(size))), Heard.nothing(400_000)
    for start in range(0, 9000, 1000):
        drawn.draw(start, start + 1000, heard)
    assert sum(len(kept.order) for kept in drawn._kept.values()) <= mixture._KEPT


def test_a_pass_of_which_a_part_is_kept_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = make(asr_de=61, asr_en=7)
    rng = np.random.default_rng(0)
    starts = [0, *np.cumsum(rng.integers(1, 40, 12)).tolist()]
    for heard in (Heard.nothing(68), Heard(3, rng.random(68) < 0.3)):
        whole, parts = (mix(examples, ["asr"]) for _ in range(2))
        expected = [whole.draw(*span, heard) for span in itertools.pairwise(starts)]
        with monkeypatch.context() as patch:
            patch.setattr(mixture, "_KEPT", 5)
            patch.setattr(mixture, "_POOLS_KEPT", 2)
            found = [parts.draw(*span, heard) for span in itertools.pairwise(starts)]
            again = [
                parts.draw(*span, heard) for span in itertools.pairwise(starts)
            ]  # back to the start
        for one, other, third in zip(expected, found, again, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(one, third)
