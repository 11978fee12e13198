"""Similarity of gradients between groups, from the inner products of their batches' gradients.

Everything here follows from one Gram matrix: with g_i the gradient of batch i, the cosine of two groups'
mean gradients, how far sampling noise lowers it, and its interval are functions of the products g_i . g_j
alone. So gradients of any size need to be kept only until these are formed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

Array = np.ndarray

#: 95 % of a normal distribution lie within so many standard deviations.
_NORMAL_95 = 1.959964
_MOST_SPLITS = 200


@dataclass(frozen=True)
class Similarity:
    """What groups' gradients have in common; matrices are (G, G) in the order of ``groups``.

    Attributes:
        groups: names.
        batches: (G,) number of batches.
        cosine: of the groups' mean gradients.
        cosine_error: half width of the 95 % interval (jackknife over batches) of what so many batches
            show; noise lowers that, and it is no interval of the cosine without noise.
        halves: (G,) mean cosine between the two halves of a group's own batches: near one where the
            batches show the group's gradient, near zero where noise drowns it.
        corrected: the cosine without the noise of sampling (products of different batches alone; Spearman's
            correction for attenuation). NaN where a group's signal cannot be told from zero.
        corrected_error: half width of its 95 % interval.
    """

    groups: tuple[str, ...]
    batches: Array
    cosine: Array
    cosine_error: Array
    halves: Array
    corrected: Array
    corrected_error: Array

    def told(self) -> Array:
        """`corrected` where its interval is no wider than ±0.5, so that it says something; else NaN."""
        with np.errstate(invalid="ignore"):
            return np.where(self.corrected_error <= 0.5, self.corrected, np.nan)


def similarity(gram: Array, group: Sequence[str], seed: int = 0) -> Similarity:
    """Compare groups.

    Groups whose gradients are zero (those of text, in an encoder) are left out.

    Args:
        gram: (N, N) inner products of the gradients of N batches.
        group: (N,) name of each batch's group.
        seed: of the choice of halves where there are too many to try all.

    Raises:
        ValueError: a group with fewer than two batches, or no group with a gradient.
    """
    gram = np.asarray(gram, dtype=np.float64)
    learns = np.diag(gram) > 0
    names = tuple(dict.fromkeys(g for g, does in zip(group, learns, strict=True) if does))
    members = np.array([[name == g for g in group] for name in names], dtype=np.float64)
    if not names:
        raise ValueError("no batch has a gradient")
    counts = members.sum(axis=1)
    if counts.min() < 2:
        raise ValueError(f"{names[int(counts.argmin())]}: needs at least two batches")
    return Similarity(
        names,
        counts.astype(int),
        _cosine(gram, members),
        _jackknife(_cosine, gram, members),
        np.array([_halves(gram, np.flatnonzero(row), seed) for row in members]),
        _corrected(gram, members),
        _jackknife(_corrected, gram, members),
    )


def _products(gram: Array, members: Array) -> Array:
    """(G, G) inner products of the groups' means."""
    means = members / members.sum(axis=1, keepdims=True)
    return means @ gram @ means.T


def _cosine(gram: Array, members: Array) -> Array:
    products = _products(gram, members)
    norms = np.sqrt(np.diag(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        return products / np.outer(norms, norms)


def _corrected(gram: Array, members: Array) -> Array:
    """Cosines in which no batch is multiplied with itself, so that its noise does not count."""
    counts = members.sum(axis=1)
    products = _products(gram, members)
    own = members @ np.diag(gram)  # the sum of squared norms, by group
    signal = (np.diag(products) * counts**2 - own) / (counts * (counts - 1))
    norms = np.sqrt(np.where(signal > 0, signal, np.nan))
    result = products / np.outer(norms, norms)
    np.fill_diagonal(result, np.where(signal > 0, 1.0, np.nan))
    return result


def _jackknife(statistic: Callable[[Array, Array], Array], gram: Array, members: Array) -> Array:
    """Half widths of 95 % intervals: each batch left out in turn, groups resampled on their own.

    Without one of two batches, noise cannot be told from signal: then there is none (NaN) of what is
    corrected for noise.
    """
    variance = 0.0
    for row in range(len(members)):
        batches = np.flatnonzero(members[row])
        values = []
        for batch in batches:
            left = members.copy()
            left[row, batch] = 0
            with np.errstate(divide="ignore", invalid="ignore"):
                values.append(statistic(gram, left))
        deviations = np.stack(values) - np.mean(values, axis=0)
        variance = variance + (len(batches) - 1) / len(batches) * (deviations**2).sum(axis=0)
    return _NORMAL_95 * np.sqrt(variance)


def _halves(gram: Array, batches: Array, seed: int) -> float:
    """The mean cosine between the means of two disjoint halves of a group's batches."""
    half = len(batches) // 2
    splits = list(combinations(range(len(batches)), half)) if len(batches) <= 10 else []
    if not splits or len(splits) > _MOST_SPLITS:
        random = np.random.default_rng(seed)
        splits = [tuple(random.permutation(len(batches))[:half]) for _ in range(_MOST_SPLITS)]
    cosines = []
    for split in splits:
        first = np.zeros(len(batches))
        first[list(split)] = 1
        sides = np.stack([first, 1 - first])
        cosines.append(_cosine(gram[np.ix_(batches, batches)], sides)[0, 1])
    return float(np.mean(cosines))
