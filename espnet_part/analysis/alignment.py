"""How separable languages are in a set of representations, and how well they are aligned.

Rows are utterances. All measures are blind to the scale of the space; retrieval and CKA also to its
origin, which differs between speech and text, and between languages, for reasons that are no misalignment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def language_accuracy(
    states: Array, languages: Sequence[str], meanings: Sequence[str], folds: int = 5, seed: int = 0
) -> float:
    """How often a linear classifier names the language of an utterance that it has not seen.

    Cross-validated; utterances of one meaning lie in one fold, so that no translation gives the answer.

    Args:
        states: (N, dim). languages, meanings: (N,). folds: of the cross-validation.

    Returns:
        The mean over languages of the share that is right (balanced accuracy); chance is 1 / languages.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10.0))
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(classifier, states, list(languages), groups=list(meanings), cv=splits)
    return float(balanced_accuracy_score(list(languages), found))


def recall_at_1(first: Array, second: Array) -> tuple[float, float]:
    """How often row i's nearest row on the other side is row i, by cosine of centred rows; both ways.

    Args:
        first, second: (N, dim), row i of one belonging to row i of the other.
    """
    similarities = _unit(first) @ _unit(second).T
    wanted = np.arange(len(similarities))
    return (
        float((similarities.argmax(axis=1) == wanted).mean()),
        float((similarities.argmax(axis=0) == wanted).mean()),
    )


def cka(first: Array, second: Array) -> float:
    """Linear centred kernel alignment of two sets of representations of the same N things.

    The unbiased estimator (Song et al. 2012; Nguyen, Raghu and Kornblith 2021): near 0 for unrelated
    representations however few things there are, 1 for equal ones up to rotation and scale.

    Args:
        first, second: (N, dim) and (N, dim'), N > 3.
    """
    first, second = (np.asarray(x, dtype=np.float64) for x in (first, second))
    kernels = [
        _without_diagonal((x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T) for x in (first, second)
    ]
    cross = _hsic(*kernels)
    norms = _hsic(kernels[0], kernels[0]) * _hsic(kernels[1], kernels[1])
    return float(cross / np.sqrt(norms)) if norms > 0 else float("nan")


def _hsic(k: Array, q: Array) -> float:
    n = len(k)
    trace = (k * q).sum()
    sums = k.sum() * q.sum() / ((n - 1) * (n - 2))
    rows = 2 * (k.sum(axis=0) @ q.sum(axis=0)) / (n - 2)
    return float(trace + sums - rows) / (n * (n - 3))


def _without_diagonal(kernel: Array) -> Array:
    kernel = kernel.copy()
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _unit(states: Array) -> Array:
    centred = np.asarray(states, dtype=np.float64) - states.mean(axis=0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
