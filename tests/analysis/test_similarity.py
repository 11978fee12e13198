"""Similarities from inner products alone are those that the vectors themselves give."""

from __future__ import annotations

import numpy as np
import pytest

from espnet_part.analysis.similarity import similarity

GROUPS = ["a"] * 6 + ["b"] * 6 + ["c"] * 6


def gradients(noise: float, dim: int = 2000, seed: int = 0) -> np.ndarray:
    """Batches of three groups: a and b share half of their signal (cosine 0.5), c has none with them."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(dim, 3)))[0].T
    signals = {"a": axes[0], "b": 0.5 * axes[0] + np.sqrt(0.75) * axes[1], "c": axes[2]}
    rows = [signals[group] for group in GROUPS]
    return np.array(rows) + noise * random.normal(size=(len(GROUPS), dim)) / np.sqrt(dim)


def test_the_cosine_is_that_of_the_mean_gradients() -> None:
    vectors = gradients(1.0)
    found = similarity(vectors @ vectors.T, GROUPS)
    a, b = vectors[:6].mean(axis=0), vectors[6:12].mean(axis=0)
    assert found.groups == ("a", "b", "c")
    assert found.cosine[0, 1] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_halves_are_the_mean_over_all_splits() -> None:
    from itertools import combinations

    vectors = gradients(1.0)
    cosines = []
    for chosen in combinations(range(6), 3):
        rest = [n for n in range(6) if n not in chosen]
        x, y = vectors[list(chosen)].mean(axis=0), vectors[rest].mean(axis=0)
        cosines.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert similarity(vectors @ vectors.T, GROUPS).halves[0] == pytest.approx(np.mean(cosines))


def test_noise_lowers_the_cosine_and_not_the_corrected_one() -> None:
    loud = [similarity(g @ g.T, GROUPS) for g in (gradients(2.0, seed=seed) for seed in range(40))]
    assert np.mean([found.cosine[0, 1] for found in loud]) < 0.35  # of a true 0.5
    assert np.mean([found.corrected[0, 1] for found in loud]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([found.corrected[0, 2] for found in loud]) == pytest.approx(0.0, abs=0.03)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    hits = []
    for seed in range(100):
        vectors = gradients(1.5, dim=400, seed=seed)
        found = similarity(vectors @ vectors.T, GROUPS)
        hits.append(abs(found.corrected[0, 1] - 0.5) <= found.corrected_error[0, 1])
    assert 0.85 <= np.mean(hits) <= 1.0


def test_where_there_is_no_signal_nothing_is_claimed() -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(18, 50))
    found = similarity(vectors @ vectors.T, GROUPS)
    assert np.isnan(found.told()[~np.eye(3, dtype=bool)]).all()
    assert np.abs(found.halves).max() < 0.4


def test_groups_without_a_gradient_are_left_out() -> None:
    vectors = gradients(1.0)
    vectors[6:12] = 0
    assert similarity(vectors @ vectors.T, GROUPS).groups == ("a", "c")
    with pytest.raises(ValueError, match="no batch"):
        similarity(np.zeros((18, 18)), GROUPS)
    with pytest.raises(ValueError, match="at least two"):
        similarity(np.eye(3), ["a", "a", "b"])
