"""The shares of strata: against UniMax and a bisection, and what holds of any mixture."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data.datadir import Example
from espnet_part.data.examples import ExampleList
from espnet_part.data.heard import Heard
from espnet_part.data.mixture import Mixture, select
from espnet_part.data.shares import Limits, by_task, fill, limited_shares, natural_shares
from espnet_part.errors import ConfigError

Sizes = dict[tuple[str, str, str], int]


def asr(**sizes: int) -> Sizes:
    return {("asr", lang, lang): size for lang, size in sizes.items()}


def test_without_limits_a_mixture_is_what_it_always_was() -> None:
    """Orders of 0.2.0, by their hashes."""
    sizes = {"asr de": 700, "asr is": 30, "asr ta": 3, "s2tt de": 50, "s2tt is": 7, "t2tt ta": 11}
    examples = ExampleList(
        [
            Example(f"{name.replace(' ', '_')}{n}", *name.split(), "en", "x")
            for name, size in sizes.items()
            for n in range(size)
        ]
    )
    cases: list[tuple[Any, float, str]] = [
        (["asr", "s2tt"], 1.0, "2db40df8e36e551e"),
        (["asr"], 2.0, "6cb2a5d0c3c938b4"),
        ({"asr": 0.5, "s2tt": 0.3, "t2tt": 0.2}, 3.3, "539d6e7212d09633"),
    ]
    heard = Heard.nothing(len(examples))
    for tasks, temperature, digest in cases:
        members = select(examples, tasks)
        counts = {stratum: len(positions) for stratum, positions in members.items()}
        mixture = Mixture(members, natural_shares(counts, tasks, temperature), seed=5)
        drawn = [mixture.draw(n, n + 100, heard) for n in range(0, 2000, 100)]
        found = hashlib.sha256(np.concatenate(drawn).astype("<i8").tobytes()).hexdigest()
        assert found.startswith(digest)


def unimax(sizes: list[int], budget: float, epochs: float) -> list[float]:
    """Algorithm 1 of Chung et al. (2023): the smallest language first, each its part of what is left."""
    given = dict.fromkeys(range(len(sizes)), 0.0)
    order = sorted(given, key=lambda n: sizes[n])
    for place, n in enumerate(order):
        given[n] = min(budget / (len(order) - place), sizes[n] * epochs)
        budget -= given[n]
    return list(given.values())


@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=30),
    epochs=st.floats(0.1, 50),
    filled=st.floats(0.01, 0.999),
)
def test_equal_languages_under_a_cap_are_unimax(
    sizes: list[int], epochs: float, filled: float
) -> None:
    strata = {("asr", f"l{n}", ""): size for n, size in enumerate(sizes)}
    budget = filled * epochs * sum(sizes)
    shares = natural_shares(strata, ["asr"], temperature=1e15)
    found, _ = limited_shares(shares, strata, Limits(max_epochs=epochs), lambda _: budget)
    drawn = [share / sum(sizes) * budget for share in found.values()]
    np.testing.assert_allclose(drawn, unimax(sizes, budget, epochs), rtol=1e-6)


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1e6), st.floats(0, 1e3), st.floats(0, 1e6)),
        min_size=1,
        max_size=20,
    ),
    st.floats(0, 1),
)
def test_a_total_is_spread_as_bisection_spreads_it(
    bounds: list[tuple[float, float, float]], part: float
) -> None:
    weights, lowest, room = (np.array(column) for column in zip(*bounds, strict=True))
    highest = lowest + room
    total = float(lowest.sum() + part * room.sum())
    found = np.array(fill(weights.tolist(), lowest.tolist(), highest.tolist(), total))
    low, high = 0.0, float((highest / weights).max())
    for _ in range(200):
        level = (low + high) / 2
        if np.clip(level * weights, lowest, highest).sum() < total:
            low = level
        else:
            high = level
    np.testing.assert_allclose(
        found, np.clip(high * weights, lowest, highest), rtol=1e-6, atol=1e-9 * max(total, 1)
    )
    assert math.isclose(found.sum(), total, rel_tol=1e-9, abs_tol=1e-9)


langs = [f"l{n}" for n in range(6)]
mixtures = st.fixed_dictionaries(
    {
        "sizes": st.dictionaries(
            st.tuples(st.sampled_from(["asr", "s2tt"]), st.sampled_from(langs), st.just("en")),
            st.integers(1, 10**6),
            min_size=1,
        ),
        "weights": st.one_of(st.none(), st.tuples(st.floats(0.1, 5), st.floats(0.1, 5))),
        "temperature": st.floats(0.5, 10),
        "max_epochs": st.one_of(st.none(), st.floats(0.01, 100)),
        "min_share": st.one_of(st.none(), st.floats(0.001, 1 / 6)),
        "steps": st.floats(1, 1e6),
        "bins": st.one_of(st.none(), st.floats(10, 1e5)),
        "costs": st.lists(st.floats(1, 1000), min_size=12, max_size=12),
    }
)


@settings(max_examples=300, deadline=None)
@given(mixtures)
def test_shares_are_whole_and_within_their_limits_whatever_the_mixture(given: Any) -> None:
    sizes, steps, bins = given["sizes"], given["steps"], given["bins"]
    present = {stratum[0] for stratum in sizes}
    weights = dict(zip(["asr", "s2tt"], given["weights"] or (), strict=False))
    tasks = {t: weights[t] for t in sorted(present)} if weights else sorted(present)
    costs = dict(zip(sizes, given["costs"], strict=False))
    limits = Limits(given["max_epochs"], given["min_share"])
    natural = natural_shares(sizes, tasks, given["temperature"])
    size = sum(sizes.values())
    strata_of = by_task(sizes)

    def drawn(mean: float) -> float:
        return steps * (bins / mean if bins else 16)

    try:
        shares, bound = limited_shares(natural, sizes, limits, drawn, costs)
    except ConfigError:  # there is a task that its caps, all reached, do not fill
        assert limits.max_epochs is not None
        rooms = [
            limits.max_epochs * sum(sizes[s] for s in strata) / sum(natural[s] for s in strata)
            for strata in strata_of.values()
        ]
        assert drawn(min(costs.values())) > size * min(rooms)
        return
    assert math.fsum(shares.values()) == pytest.approx(size)
    mean = math.fsum(shares[s] * costs[s] for s in sizes) / size
    examples = drawn(mean)
    for strata in strata_of.values():
        of_task = math.fsum(natural[s] for s in strata)
        assert math.fsum(shares[s] for s in strata) == pytest.approx(of_task)
        free = [s for s in strata if s not in bound]
        for s in strata:
            assert shares[s] > 0
            epochs = examples * shares[s] / size / sizes[s]
            if limits.max_epochs is not None:
                assert epochs <= limits.max_epochs * (1 + 1e-6)
            if limits.min_share is not None:
                at_cap = bound.get(s) == "max_epochs"
                assert at_cap or shares[s] >= limits.min_share * of_task * (1 - 1e-6)
        for one, other in itertools.pairwise(free):
            assert shares[one] / shares[other] == pytest.approx(natural[one] / natural[other])


@settings(deadline=None)
@given(mixtures, st.sampled_from(["max_epochs", "min_share"]), st.floats(1.01, 3))
def test_a_higher_limit_of_one_language_never_gives_it_less_nor_another_more(
    given: Any, key: str, more: float
) -> None:
    sizes = {stratum: size for stratum, size in given["sizes"].items() if stratum[0] == "asr"}
    if not sizes:
        return
    value = given[key] or 0.1
    one = next(iter(sizes))
    natural = natural_shares(sizes, ["asr"], given["temperature"])
    found = []
    for of_one in (value, value * more):
        limits = Limits(**{key: {"*": value, f"asr/{one[1]}": of_one}})
        try:
            shares, _ = limited_shares(natural, sizes, limits, lambda _: given["steps"])
        except ConfigError:
            return
        found.append(shares)
    before, after = found
    assert after[one] >= before[one] * (1 - 1e-9)
    assert all(after[s] <= before[s] * (1 + 1e-9) for s in sizes if s != one)


def test_limits_that_set_nothing_change_nothing() -> None:
    sizes = asr(de=900, fr=99, ta=1)
    natural = natural_shares(sizes, ["asr"], 2.0)
    shares, bound = limited_shares(natural, sizes, Limits(1e6, 1e-6), lambda _: 5000.0)
    assert not bound
    assert shares == pytest.approx(natural, rel=1e-12)


def test_the_sharpest_temperature_is_one_of_numbers() -> None:
    sizes = {("asr", lang, lang): size for lang, size in [("de", 10**8), ("en", 10**7), ("sw", 1)]}
    shares = natural_shares(sizes, ["asr"], 0.1)
    german, english, swahili = shares.values()
    assert german / english == pytest.approx(1e10) and english / swahili == pytest.approx(1e70)
    found, _ = limited_shares(shares, sizes, Limits(2, 0.1), lambda _: 1e8)
    assert sum(found.values()) == pytest.approx(sum(sizes.values()))


def test_what_a_cap_takes_goes_to_the_others_of_the_task_in_proportion() -> None:
    sizes = {**asr(de=800, fr=200, ta=10), ("s2tt", "de", "en"): 990}
    natural = natural_shares(sizes, ["asr", "s2tt"], 1e15)
    limits = Limits(max_epochs={"ta": 5})
    shares, bound = limited_shares(natural, sizes, limits, lambda _: 4000.0)
    drawn = {lang: 2 * shares["asr", lang, lang] for lang in ("de", "fr", "ta")}
    assert drawn == pytest.approx({"de": 985, "fr": 985, "ta": 50})  # 2020 of 4000 are ASR
    assert shares["s2tt", "de", "en"] == pytest.approx(990)
    assert bound == {("asr", "ta", "ta"): "max_epochs"}


def test_a_least_share_is_of_the_task_and_gives_way_to_a_cap() -> None:
    sizes = {**asr(de=960, fr=30, ta=10), ("s2tt", "de", "en"): 1000}
    natural = natural_shares(sizes, {"asr": 3, "s2tt": 1})
    shares, bound = limited_shares(natural, sizes, Limits(min_share=0.2), lambda _: 2000.0)
    assert list(shares.values()) == pytest.approx([900, 300, 300, 500])
    assert set(bound.values()) == {"min_share"} and len(bound) == 2
    limits = Limits({"ta": 10}, 0.2)
    shares, bound = limited_shares(natural, sizes, limits, lambda _: 2000.0)
    assert list(shares.values()) == pytest.approx([1100, 300, 100, 500])
    assert bound["asr", "ta", "ta"] == "max_epochs"


def test_the_narrowest_name_of_a_stratum_counts() -> None:
    sizes = {("s2tt", lang, tgt): 10 for lang in ("de", "en") for tgt in ("ta", "fr")}
    names = {"*": 1, "s2tt/*": 2, "de": 3, "s2tt/en": 4, "s2tt/en/ta": 5}
    caps = Limits(max_epochs=names).caps({**sizes, **asr(fr=10)}, "x")
    assert caps == {
        ("s2tt", "de", "ta"): 30,
        ("s2tt", "de", "fr"): 30,
        ("s2tt", "en", "ta"): 50,
        ("s2tt", "en", "fr"): 40,
        ("asr", "fr", "fr"): 10,
    }


def test_shorter_examples_make_more_of_them_and_their_caps_are_kept_all_the_same() -> None:
    """Text costs a tenth of speech: what is capped decides how many examples the steps hold."""
    sizes = asr(de=10_000, ta=100)
    costs = {("asr", "de", "de"): 100.0, ("asr", "ta", "ta"): 10.0}
    natural = natural_shares(sizes, ["asr"], 1e15)
    limits = Limits(max_epochs={"ta": 3})
    shares, _ = limited_shares(natural, sizes, limits, lambda mean: 1e6 / mean, costs)
    # 300 of ta cost 3,000; 997,000 are left for 9,970 of de
    assert shares["asr", "ta", "ta"] / 10_100 == pytest.approx(300 / 10_270, rel=1e-6)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            Limits(max_epochs={"xx": 2}),
            r"s.yaml: phase p: max_epochs: unknown key `xx`; the phase's tasks \(asr, s2tt\) have 2 "
            "languages: de, ta",
        ),
        (
            Limits(min_share={"ars/ta": 0.1}),
            "min_share: unknown key `ars/ta`; did you mean `asr/ta`",
        ),
        (
            Limits(min_share=0.6),
            "min_share: the least shares of the 2 strata of asr add up to 1.2; .*0.5 each",
        ),
        (Limits(min_share={"ta": 1.0}), "add up to 1, and nothing is left for asr/de/de"),
        (
            Limits(max_epochs=4),
            r"max_epochs: allows 400 examples of asr, but the phase draws about 500, each 5 times",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_in_numbers(limits: Limits, said: str) -> None:
    sizes = {**asr(de=90, ta=10), ("s2tt", "de", "en"): 100}
    natural = natural_shares(sizes, ["asr", "s2tt"])
    with pytest.raises(ConfigError, match=said):
        limited_shares(natural, sizes, limits, lambda _: 1000.0, where="s.yaml: phase p")


def test_thousands_of_strata_are_shared_within_their_limits() -> None:
    sizes = {("asr", f"l{n}", ""): n + 1 for n in range(2000)}
    natural = natural_shares(sizes, ["asr"], 3.0)
    costs = {stratum: 10.0 + n % 7 for n, stratum in enumerate(sizes)}
    shares, bound = limited_shares(natural, sizes, Limits(10, 4e-4), lambda mean: 1e8 / mean, costs)
    assert math.fsum(shares.values()) == pytest.approx(sum(sizes.values()))
    assert Counter(bound.values()) == {"max_epochs": 307, "min_share": 99}
