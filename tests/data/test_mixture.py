from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.config import ConfigError
from espnet_part.data.datadir import Example
from espnet_part.data.mixture import Mixture


def make(**sizes: int) -> list[Example]:
    """asr_de=3 makes three German ASR examples."""
    made = []
    for name, size in sizes.items():
        task, lang = name.split("_")
        made += [Example(f"{name}{n}", task, lang, "en", "x") for n in range(size)]
    return made


def test_natural_sizes_hold_everything_once():
    examples = make(asr_de=7, asr_es=3, s2tt_de=5, t2tt_de=4)
    mixture = Mixture(examples, ["asr", "s2tt"])
    for epoch in range(4):
        assert sorted(mixture.epoch(epoch)) == list(range(15))
    assert mixture.counts(0) == {
        ("asr", "de", "en"): 7,
        ("asr", "es", "en"): 3,
        ("s2tt", "de", "en"): 5,
    }


def test_weights_are_shares():
    examples = make(asr_de=80, s2tt_de=20)
    mixture = Mixture(examples, {"asr": 1, "s2tt": 3})
    assert mixture.counts(0) == {("asr", "de", "en"): 25, ("s2tt", "de", "en"): 75}


def test_one_task_with_any_weight_is_its_natural_size():
    examples = make(asr_de=7, asr_es=3)
    assert sorted(Mixture(examples, {"asr": 0.3}).epoch(5)) == list(range(10))


def test_temperature_evens_the_languages():
    examples = make(asr_de=900, asr_es=100)
    counts = Mixture(examples, ["asr"], temperature=2.0).counts(0)
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
    mixture = Mixture(
        examples, {"asr": weights[0], "s2tt": weights[1]}, temperature=temperature, seed=seed
    )
    read = Counter(np.concatenate([mixture.epoch(e) for e in range(6)]).tolist())
    for members in mixture.members.values():
        times = [read[m] for m in members]
        assert max(times) - min(times) <= 1
    for epoch in range(6):
        assert len(mixture.epoch(epoch)) == sum(mixture.counts(epoch).values())


def test_deterministic_in_seed_and_epoch():
    examples = make(asr_de=20, s2tt_de=20)
    one, again, other = (Mixture(examples, {"asr": 1, "s2tt": 2}, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.epoch(3), again.epoch(3))
    assert one.epoch(3).tolist() != one.epoch(4).tolist()
    assert one.epoch(3).tolist() != other.epoch(3).tolist()


def test_a_stratum_does_not_depend_on_the_others():
    few = Mixture(make(asr_de=9), ["asr"]).epoch(0)
    more = Mixture(make(asr_de=9, t2tt_es=4), ["asr", "t2tt"]).epoch(0)
    assert few.tolist() == [n for n in more if n < 9]


def test_unusable_examples_are_never_chosen():
    usable = np.array([True, False, True])
    assert sorted(Mixture(make(asr_de=3), ["asr"], usable=usable).epoch(0)) == [0, 2]
    with pytest.raises(ConfigError, match="no data for asr"):
        Mixture(make(asr_de=3), ["asr"], usable=np.zeros(3, dtype=bool))


def test_errors_name_phase_and_task():
    examples = make(asr_de=3)
    for tasks, temperature, message in [
        (["asr", "s2tt"], 1.0, "phase joint: tasks: no data for s2tt; the data hold asr"),
        ({"asr": 0.0}, 1.0, "phase joint: tasks: the weight of asr must be positive"),
        ([], 1.0, "phase joint: tasks: none"),
        (["asr"], 0.0, "phase joint: temperature"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Mixture(examples, tasks, temperature, where="phase joint")
