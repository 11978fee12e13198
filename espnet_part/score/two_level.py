"""Differences between systems that were trained with several seeds and tested on the same utterances.

Two things are drawn by chance: the seeds of the trainings and the utterances of the test set. Each seed
hears each utterance, so the two are crossed, and a figure varies by

    V = S / k + U / n + E / (k n)      for k seeds and n utterances:

seeds (S), utterances (U), and what one training makes of one utterance (E). Plain resampling of seeds
and then of utterances (the hierarchical bootstrap; Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8) gives S a share of (k - 1) / k, far too little for few seeds, and counts E
three times (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). So each level is
resampled or measured by itself here, and they are put together without either fault:

- S / k + E / (k n): the variance of the seeds' figures, divided by k;
- U / n + E / (k n): the variance over resamples of the utterances, the same draw for all seeds and both
  systems, of the mean over seeds, times n / (n - 1), for resamples vary by so much too little;
  corpus-level figures are made anew from the sums of each draw;
- E / (k n), which stands in both and is taken off once: from what the resamples do to one seed and not
  to the others.

The interval is Student's t around the difference, with the degrees of freedom that Welch and
Satterthwaite give the sum: k - 1 where seeds are all of it, many where utterances are. Where few seeds
happen to lie close together it could be narrower than the interval over utterances alone; the wider of
the two is taken. The p-value is made in the same way, so it is below 0.05 exactly where a 95 % interval
leaves out 0. It is assumed that means over seeds vary about normally, that the seeds are a sample of all
seeds, and that utterances are independent, but for this: languages with as many utterances are drawn
alike, place by place in the order of their ids. Where they say the same sentences, as parallel test sets
do, an average over them is then no surer than the sentences allow; where they do not, it changes nothing
on average. Parallel languages of which some lack sentences are drawn as if they said different ones, and
the interval of their average is too narrow. Fewer than `FEWEST` utterances, or nothing that varies, give
no interval. Two seeds tell little about seeds: their interval is wide, as
it must be. Systems are paired by seed, for with one seed they share trainings or at least the order of
the data. A single seed leaves the variance of seeds unknown; its interval is over utterances alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from espnet_part.score.bleu import bleu_of
from espnet_part.score.bootstrap import resample_sums
from espnet_part.score.counting import Measured
from espnet_part.score.error_rate import error_rates
from espnet_part.score.references import GroupKey
from espnet_part.score.score_config import BootstrapConfig

FEWEST = 10
"""Utterances of a group from which an interval is made."""


@dataclass(frozen=True)
class Estimate:
    """A figure, or a difference of figures, over seeds; in the unit of the figures.

    Attributes:
        value: the mean over seeds.
        low, high: its interval; not numbers where there is none.
        p_value: two-sided, of a true value of 0.
        seeds: how many there were.
        deviation: standard deviation of single seeds, which holds what one test set makes of them;
            not a number for one seed.
    """

    value: float
    low: float
    high: float
    p_value: float
    seeds: int
    deviation: float

    @property
    def is_finite(self) -> bool:
        """Whether there are a figure and an interval."""
        return all(map(math.isfinite, (self.value, self.low, self.high)))


def figures_by_group(
    measured: Mapping[GroupKey, Measured], config: BootstrapConfig
) -> dict[GroupKey, np.ndarray]:
    """Error rate or BLEU of each group, (1 + samples,): of the whole set, then of each resample.

    A group's draws are a function of its size, hence the same for every training that is tested on it,
    and for every language of a parallel test set. Resamples of too few utterances are not numbers.
    """
    found = {}
    for key, group in measured.items():
        if group.translations is not None:
            counts, figure = group.translations, bleu_of
        else:
            counts, figure = next(iter(group.errors.values())), error_rates
        size = len(counts)
        sums = np.vstack([counts.sum(axis=0), resample_sums(counts, config, f"{size} utterances")])
        of_group = figure(sums)
        drawn = of_group[1:]
        if size < FEWEST:
            drawn[:] = math.nan
        else:
            middle = drawn.mean()
            drawn[:] = middle + math.sqrt(size / (size - 1)) * (drawn - middle)
        found[key] = of_group
    return found


def macro_average(figures: Mapping[GroupKey, np.ndarray], keys: Sequence[GroupKey]) -> np.ndarray:
    """The mean over groups, (1 + samples,)."""
    return np.mean([figures[key] for key in keys], axis=0)


def estimate(first: np.ndarray, second: np.ndarray | None = None, level: float = 0.95) -> Estimate:
    """The mean over seeds of ``first``, or of ``first`` less ``second``.

    Args:
        first, second: figures, (seeds, 1 + samples), as `figures_by_group` or `macro_average` gives
            them, row by row of the same seeds.
        level: of confidence.

    Raises:
        ValueError: no seed, no resamples, or arrays of different shape.
    """
    if second is not None and first.shape != second.shape:
        raise ValueError(f"figures of different shape: {first.shape} and {second.shape}")
    if first.ndim != 2 or not len(first) or first.shape[1] < 3:
        raise ValueError(f"needs seeds and resamples, not an array of shape {first.shape}")
    with np.errstate(invalid="ignore"):  # infinite error rates, where all references are empty
        values = first if second is None else first - second
    seeds, drawn = len(values), values[:, 1:]
    value = float(values[:, 0].mean())
    if not np.isfinite(values).all():
        return Estimate(value, math.nan, math.nan, math.nan, seeds, math.nan)
    together = drawn.mean(axis=0)
    of_utterances = float(together.var(ddof=1))
    width, p_value = _student(value, of_utterances, math.inf, level)
    deviation = math.nan
    if seeds > 1:
        deviation = float(values[:, 0].std(ddof=1))
        of_seeds = deviation**2 / seeds
        of_both = float((drawn - together).var(axis=1, ddof=1).mean()) / (seeds - 1)
        variance = of_seeds + max(0.0, of_utterances - of_both)
        freedom = (seeds - 1) * (variance / of_seeds) ** 2 if of_seeds else math.inf
        wider, larger = _student(value, variance, freedom, level)
        width, p_value = max(width, wider), max(p_value, larger)
    if width < 1e-12 < abs(value):  # nothing varies, so nothing is known of what might
        width = p_value = math.nan
    return Estimate(value, value - width, value + width, p_value, seeds, deviation)


def _student(value: float, variance: float, freedom: float, level: float) -> tuple[float, float]:
    """Half the interval's width, and the two-sided p-value of 0."""
    from scipy.special import stdtr, stdtrit

    freedom, error = min(freedom, 1e9), math.sqrt(variance)  # from there on the normal distribution
    width = float(stdtrit(freedom, (1 + level) / 2)) * error
    if error < 1e-12:  # the same outputs; or the same difference whatever is drawn
        return width, 1.0 if abs(value) < 1e-12 else 0.0
    return width, float(2 * stdtr(freedom, -abs(value) / error))
