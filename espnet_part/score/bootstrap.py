"""Bootstrap over utterances: percentile intervals of anything made from sums of counts.

Corpus-level error rates, BLEU and chrF are functions of counts summed over utterances. A resample
draws as many utterances as there are, with replacement, and sums their counts; the figure's
distribution over resamples gives its interval (Bisani and Ney, "Bootstrap estimates for confidence
intervals in ASR performance evaluation", ICASSP 2004; Koehn, "Statistical significance tests for
machine translation evaluation", EMNLP 2004).

Utterances are taken as independent. Those of one speaker or one talk are not, so where a test set
has few speakers its true uncertainty is larger than the interval.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass

import numpy as np

from espnet_part.score.score_config import BootstrapConfig

_BLOCK = 4_000_000
"""Draws held in memory at once."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of its figure."""

    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def resample_sums(statistics: np.ndarray, config: BootstrapConfig, key: str) -> np.ndarray:
    """Sums of counts over resampled utterances.

    Args:
        statistics: counts, (utterances, counts). The order of utterances decides which of them are
            drawn: sort them by id.
        key: names the group of utterances. Each group is drawn independently of others, and
            always in the same way, so that systems compared on it see the same draws.

    Returns:
        (samples, counts), exact for whole numbers below 2^53.
    """
    utterances = len(statistics)
    values = statistics.astype(np.float64)
    sums = np.empty((config.samples, values.shape[1]))
    generator = np.random.default_rng([config.seed, zlib.crc32(key.encode())])
    rows = max(1, _BLOCK // max(1, utterances))
    for start in range(0, config.samples, rows):
        count = min(rows, config.samples - start)
        drawn = generator.integers(utterances, size=(count, utterances))
        times = np.empty((count, utterances))
        for row in range(count):
            times[row] = np.bincount(drawn[row], minlength=utterances)
        sums[start : start + count] = times @ values
    return sums


def percentile_interval(figures: np.ndarray, level: float) -> Interval | None:
    """The middle ``level`` of a figure's resamples, (samples,); None where one is not finite."""
    if not len(figures) or not np.isfinite(figures).all():
        return None
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def two_sided_p_value(differences: np.ndarray, observed: float) -> float:
    """How often chance alone makes a difference as large as the observed one.

    The resampled differences, (samples,), are shifted to have mean 0, which is the null
    hypothesis. One is added to both counts, so that it is never 0.
    """
    extreme = np.abs(differences - differences.mean()) >= abs(observed) - 1e-12
    return (int(extreme.sum()) + 1) / (len(differences) + 1)
