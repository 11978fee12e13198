"""The bootstrap: exact sums, reproducible draws, and intervals that hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.score import bootstrap
from espnet_part.score.bootstrap import percentile_interval, resample_sums, two_sided_p_value
from espnet_part.score.error_rate import error_rates
from espnet_part.score.score_config import BootstrapConfig

CONFIG = BootstrapConfig(samples=50)


def _counts(utterances, seed=0, columns=3):
    return np.random.default_rng(seed).integers(20, size=(utterances, columns))


def test_sums_are_those_of_drawn_utterances():
    counts = _counts(40)
    sums = resample_sums(counts, CONFIG, "asr de de")
    identity = resample_sums(np.eye(40, dtype=int), CONFIG, "asr de de")
    assert (identity.sum(axis=1) == 40).all()
    np.testing.assert_array_equal(sums, identity @ counts)
    assert len(np.unique(sums[:, 0])) > 10


def test_draws_depend_on_seed_and_key_alone(monkeypatch):
    counts = _counts(40)
    first = resample_sums(counts, CONFIG, "asr de de")
    np.testing.assert_array_equal(first, resample_sums(counts, CONFIG, "asr de de"))
    assert (first != resample_sums(counts, CONFIG, "asr fr fr")).any()
    assert (first != resample_sums(counts, BootstrapConfig(samples=50, seed=1), "asr de de")).any()
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)  # two rows at once
    np.testing.assert_array_equal(first, resample_sums(counts, CONFIG, "asr de de"))


def test_percentiles():
    figures = np.arange(101.0)
    interval = percentile_interval(figures, 0.9)
    assert (interval.low, interval.high) == pytest.approx((5, 95))
    assert percentile_interval(np.array([]), 0.95) is None
    assert percentile_interval(np.array([1.0, np.inf]), 0.95) is None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50), st.floats(-100, 100))
def test_p_value_is_a_share_and_never_zero(differences, observed):
    p_value = two_sided_p_value(np.array(differences), observed)
    assert 1 / (len(differences) + 1) <= p_value <= 1
    assert p_value == two_sided_p_value(-np.array(differences), -observed)


def test_no_difference_is_no_evidence():
    assert two_sided_p_value(np.zeros(100), 0.0) == 1.0


def test_rates_without_reference_units():
    sums = np.array([[10, 5, 3, 2, 1, 1], [0, 0, 0, 0, 4, 1], [0, 0, 0, 0, 0, 0]])
    assert error_rates(sums).tolist() == [60.0, np.inf, 0.0]


def test_interval_covers_the_true_error_rate():
    """Test sets of 200 utterances from a known population: 95 % intervals hold its rate."""
    generator = np.random.default_rng(0)
    config = BootstrapConfig(samples=200)
    covered = 0
    tests = 300
    for number in range(tests):
        words = generator.integers(5, 20, size=200)
        skill = generator.beta(2, 18, size=200)  # error rates of utterances, 10 % on average
        counts = np.zeros((200, 6), dtype=int)
        counts[:, 0] = words
        counts[:, 2] = generator.binomial(words, skill)
        rates = error_rates(resample_sums(counts, config, str(number)))
        interval = percentile_interval(rates, 0.95)
        covered += interval.low <= 10.0 <= interval.high
    assert covered / tests == pytest.approx(0.945, abs=0.035)
