"""Seeds and utterances: equal to a slow direct computation, and right about chance."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from espnet_part.score.bleu import bleu_of, figures_of
from espnet_part.score.bootstrap import resample_sums
from espnet_part.score.counting import Measured, measure
from espnet_part.score.error_rate import count_errors, error_statistics
from espnet_part.score.references import References
from espnet_part.score.score_config import BootstrapConfig, ScoreConfig
from espnet_part.score.two_level import estimate, figures_by_group, macro_average

SENTENCE = "we saw the small green cat run from a big tree to its house then home"
WORDS = SENTENCE.split()
ASR, S2TT = ("asr", "en", "en"), ("s2tt", "de", "en")


def _sentences(generator, count):
    return [" ".join(generator.choices(WORDS, k=generator.randint(4, 9))) for _ in range(count)]


def _damaged(generator, sentence):
    return " ".join(w if generator.random() > 0.25 else "dog" for w in sentence.split())


def _systems(utterances=12, seeds=3):
    """References of two groups, and the hypotheses of two systems, one mapping a seed."""
    generator = random.Random(1)
    groups = {key: [f"{key[0]}{n}" for n in range(utterances)] for key in (ASR, S2TT)}
    ids = [utt for members in groups.values() for utt in members]
    texts = dict(zip(ids, _sentences(generator, len(ids)), strict=True))
    runs = [
        [{utt: _damaged(generator, text) for utt, text in texts.items()} for _ in range(seeds)]
        for _ in range(2)
    ]
    return References(texts, groups), runs


def _figure(key, references, hypotheses):
    if key == S2TT:
        return BLEU(force=True).corpus_score(hypotheses, [references]).score
    return count_errors(references, hypotheses).rate


def test_a_slow_direct_computation_gives_the_same():
    references, runs = _systems()
    config = ScoreConfig(normalizer="none", bootstrap=BootstrapConfig(samples=30))
    fast = [
        [figures_by_group(measure(references, seed, config), config.bootstrap) for seed in system]
        for system in runs
    ]
    for key, utterances in references.groups.items():
        drawn = resample_sums(np.eye(len(utterances), dtype=int), config.bootstrap, "12 utterances")
        sets = [list(range(len(utterances)))]
        sets += [
            [n for n, times in enumerate(row.astype(int)) for _ in range(times)] for row in drawn
        ]
        slow = np.array(
            [
                [
                    [
                        _figure(
                            key,
                            [references.texts[utterances[n]] for n in chosen],
                            [seed[utterances[n]] for n in chosen],
                        )
                        for chosen in sets
                    ]
                    for seed in system
                ]
                for system in runs
            ]
        )
        middle = slow[:, :, 1:].mean(axis=2, keepdims=True)
        slow[:, :, 1:] = middle + (12 / 11) ** 0.5 * (slow[:, :, 1:] - middle)
        quick = np.array([[seed[key] for seed in system] for system in fast])
        np.testing.assert_allclose(quick, slow, atol=1e-9)
        _same_as_slow(estimate(quick[0], quick[1]), slow[0] - slow[1])


def _same_as_slow(found, differences):
    """The three variances as the module says them, by loops."""
    from scipy.stats import norm, t

    seeds, samples = len(differences), len(differences[0]) - 1
    observed = [row[0] for row in differences]
    mean = sum(observed) / seeds
    of_seeds = sum((value - mean) ** 2 for value in observed) / (seeds - 1) / seeds
    means = [sum(row[1 + b] for row in differences) / seeds for b in range(samples)]
    of_utterances = np.var(means, ddof=1)
    own = [np.var([row[1 + b] - means[b] for b in range(samples)], ddof=1) for row in differences]
    of_both = sum(own) / seeds / (seeds - 1)
    variance = of_seeds + max(0, of_utterances - of_both)
    student = t((seeds - 1) * (variance / of_seeds) ** 2)
    assert found.value == pytest.approx(mean)
    assert found.deviation == pytest.approx(np.std(observed, ddof=1))
    alone = of_utterances**0.5
    width = max(student.ppf(0.975) * variance**0.5, norm.ppf(0.975) * alone)
    assert found.high - mean == pytest.approx(width)
    p_values = student.sf(abs(mean) / variance**0.5), norm.sf(abs(mean) / alone)
    assert found.p_value == pytest.approx(2 * max(p_values))
    assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


@pytest.mark.parametrize("trained, of_seeds, of_utterances, of_both", [
    (5, 2.0, 10.0, 10.0),
    (3, 1.0, 3.0, 3.0),
    (2, 1.0, 10.0, 3.0),
    (5, 0.0, 10.0, 10.0),
    (4, 0.0, 0.0, 10.0),
])  # fmt: skip
def test_the_interval_covers_the_true_difference(trained, of_seeds, of_utterances, of_both):
    """About 95 % of the time; one over utterances alone does not where seeds matter."""
    generator = np.random.default_rng(5)
    trials, utterances = 600, 100
    weights = resample_sums(np.eye(utterances), BootstrapConfig(samples=150), "x") / utterances
    weights = np.vstack([np.full(utterances, 1 / utterances), weights])
    covered, alone, significant = 0, 0, 0
    for _ in range(trials):
        values = (
            of_seeds * generator.standard_normal((trained, 1))
            + of_utterances * generator.standard_normal((1, utterances))
            + of_both * generator.standard_normal((trained, utterances))
        )
        figures = values @ weights.T
        found = estimate(figures + 2.0)  # the true difference is 2 points
        covered += found.low <= 2 <= found.high
        one = estimate(figures.mean(axis=0, keepdims=True))
        alone += one.low <= 0 <= one.high
        significant += estimate(figures).p_value < 0.05
    assert 0.925 <= covered / trials <= 0.985
    assert significant / trials <= 0.075  # equal systems are not significant
    if of_seeds:
        assert alone / trials < 0.9
    else:
        assert alone / trials > 0.92


def test_equal_outputs_are_no_difference():
    figures = np.random.default_rng(0).random((3, 20))
    same = estimate(figures, figures)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def _errors(rows):
    """The counts of utterances of ten words with so many substitutions."""
    counts = error_statistics([10 * "a "] * len(rows), [""] * len(rows), "word")
    counts[:, :] = 0
    counts[:, 0], counts[:, 2] = 10, rows
    return Measured([], [], {"word": counts}, None, np.zeros(0), [], [])


def test_parallel_languages_are_drawn_together():
    """Of the same sentences, as hard in each language, an average is no surer than one language is."""
    rows = np.random.default_rng(0).integers(0, 10, 50)
    keys = [("asr", language, language) for language in ("de", "en", "fr", "it")]
    figures = figures_by_group({key: _errors(rows) for key in keys}, BootstrapConfig(samples=200))
    one, four = (estimate(macro_average(figures, some)[None]) for some in (keys[:1], keys))
    assert four.high - four.low == pytest.approx(one.high - one.low)


def test_resamples_are_widened_to_the_variance_of_a_mean():
    rows = np.random.default_rng(0).integers(0, 10, 12)
    figures = figures_by_group({ASR: _errors(rows)}, BootstrapConfig(samples=20_000))[ASR]
    assert figures[1:].var() == pytest.approx((10 * rows).var(ddof=1) / 12, rel=0.03)


@pytest.mark.parametrize("size", [1, 9])
def test_few_utterances_give_no_interval(size):
    figures = figures_by_group({ASR: _errors(np.arange(size))}, BootstrapConfig(samples=9))[ASR]
    found = estimate(figures[None])
    assert not found.is_finite and np.isnan([found.low, found.high, found.p_value]).all()
    assert found.value == pytest.approx(5 * (size - 1))


def test_nothing_that_varies_gives_no_interval():
    for seeds in (1, 2):
        found = estimate(np.full((seeds, 20), 20.0), np.full((seeds, 20), 10.0))
        assert found.value == 10 and not found.is_finite


def test_infinite_rates_give_no_interval():
    rates = np.full((2, 9), np.inf)
    assert not estimate(rates).is_finite and not estimate(rates, rates).is_finite


def test_exchanged_systems_mirror_the_difference():
    generator = np.random.default_rng(0)
    one, two = generator.random((2, 4, 50))
    there, back = estimate(one, two), estimate(two, one)
    assert (there.value, there.low) == pytest.approx((-back.value, -back.high))
    assert there.p_value == pytest.approx(back.p_value)


def test_it_is_never_surer_than_the_utterances_alone():
    """Two seeds may differ by nothing, and that is chance."""
    figures = np.random.default_rng(0).normal(7, 1, (2, 400))
    figures[:, 0] = 7.0
    found = estimate(figures)
    assert found.high - found.value >= 1.95 * figures[:, 1:].mean(axis=0).std(ddof=1)


def test_a_single_seed_says_nothing_of_seeds():
    figures = np.random.default_rng(0).normal(7, 1, (1, 400))
    found = estimate(figures)
    assert found.seeds == 1
    assert np.isnan(found.deviation)
    assert found.high - found.value == pytest.approx(1.96 * figures[0, 1:].std(ddof=1), rel=1e-3)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="different shape"):
        estimate(np.zeros((2, 9)), np.zeros((3, 9)))
    with pytest.raises(ValueError, match="resamples"):
        estimate(np.zeros((2, 1)))


def test_macro_average_weighs_groups_alike():
    figures = {ASR: np.array([1.0, 2.0]), S2TT: np.array([3.0, 6.0])}
    assert macro_average(figures, [ASR, S2TT]).tolist() == [2, 4]


@settings(max_examples=200)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.integers(1, 6),
)
def test_bleu_of_many_sums_is_sacrebleus(hypothesis, reference, shares, sentences):
    totals = [max(0, hypothesis - n * sentences) for n in range(4)]
    matches = [int(share * total) for share, total in zip(shares, totals, strict=True)]
    sums = np.array([[hypothesis, reference, *matches, *totals, *[1] * 24]])
    assert bleu_of(sums)[0] == pytest.approx(figures_of(sums, "13a")[0, 0], abs=1e-9)


def test_bleu_of_nothing_is_nothing():
    assert bleu_of(np.zeros((2, 34))).tolist() == [0, 0]
