"""Measures of separability and alignment on clouds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from espnet_part.analysis.alignment import cka, language_accuracy, recall_at_1

RANDOM = np.random.default_rng(0)


def test_languages_that_lie_apart_are_told_and_others_are_not() -> None:
    languages = [lang for lang in ("de", "en", "fr") for _ in range(40)]
    meanings = [str(n) for _ in range(3) for n in range(40)]
    cloud = RANDOM.normal(size=(120, 30))
    assert language_accuracy(cloud, languages, meanings) == pytest.approx(1 / 3, abs=0.12)
    shifted = cloud + np.repeat(np.eye(3, 30) * 6, 40, axis=0)
    assert language_accuracy(shifted, languages, meanings) > 0.95


def test_meanings_lie_in_one_fold() -> None:
    """Else a copy of an utterance in training would give its language away."""
    meanings = [str(n // 4) for n in range(80)]
    centres = np.random.default_rng(1).normal(size=(20, 50)) * 10
    cloud = np.repeat(centres, 4, axis=0)  # the meaning alone; nothing of the language
    by_meaning = np.random.default_rng(2).permutation(["de", "en"] * 10)
    languages = list(np.repeat(by_meaning, 4))
    assert language_accuracy(cloud, languages, meanings) < 0.75


def test_recall_finds_its_own_whatever_the_origin_and_scale() -> None:
    x = RANDOM.normal(size=(50, 20))
    assert recall_at_1(x, 3 * x + 7) == (1.0, 1.0)
    assert recall_at_1(x, np.roll(x, 1, axis=0)) == (0.0, 0.0)


def test_recall_is_by_cosine_of_centred_rows() -> None:
    x, y = RANDOM.normal(size=(30, 8)), RANDOM.normal(size=(30, 8))
    y = 0.5 * x + y
    hits = 0
    for row in range(30):
        a = x[row] - x.mean(axis=0)
        b = y - y.mean(axis=0)
        hits += int(np.argmax(b @ a / np.linalg.norm(b, axis=1)) == row)
    assert recall_at_1(x, y)[0] == pytest.approx(hits / 30)


def test_cka_is_one_up_to_rotation_and_zero_for_the_unrelated() -> None:
    x = RANDOM.normal(size=(40, 300))
    rotation = np.linalg.qr(RANDOM.normal(size=(300, 300)))[0]
    assert cka(x, 2 * x @ rotation + 1) == pytest.approx(1.0)
    unrelated = [cka(x, RANDOM.normal(size=(40, 200))) for _ in range(20)]
    assert np.mean(unrelated) == pytest.approx(0.0, abs=0.03)  # the biased one gives about 0.8


def test_cka_is_the_ratio_of_unbiased_estimates_over_distinct_items() -> None:
    """HSIC's unbiased estimator, term by term over tuples of different items (Song et al. 2012)."""
    from itertools import permutations

    x, y = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=(6, 4))
    kernels = [(c := z - z.mean(axis=0)) @ c.T for z in (x, y)]

    def hsic(k: np.ndarray, q: np.ndarray) -> float:
        pairs = np.mean([k[i, j] * q[i, j] for i, j in permutations(range(6), 2)])
        triples = np.mean([k[i, j] * q[i, m] for i, j, m in permutations(range(6), 3)])
        quads = np.mean([k[i, j] * q[m, n] for i, j, m, n in permutations(range(6), 4)])
        return float(pairs + quads - 2 * triples)

    k, q = kernels
    assert cka(x, y) == pytest.approx(hsic(k, q) / np.sqrt(hsic(k, k) * hsic(q, q)))
