"""Paired tests between systems on one test set: is the difference more than chance?

Error rates: paired bootstrap over utterances, both systems on the same draws, two-sided. BLEU and
chrF++: sacreBLEU's own paired bootstrap test, as by its ``--paired-bs``, with its seed. The
interval of every difference is the paired bootstrap's percentile interval.

SacreBLEU's test subtracts the mean from the *absolute* resampled differences, after a script of
Moses. For clear differences its p-value is that of a one-sided test, about half of the two-sided
one, which is given beside it. For identical outputs its formula gives its smallest p-value; we say
1 there.

Of few utterances a bootstrap knows too little: of a single one, every sample is the same, and any
difference would look certain. So no p-value is below 2^(1-n) for n utterances, the least that
exchanging the two outputs, utterance by utterance, can give in a two-sided test.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.errors import ConfigError
from espnet_part.score.bleu import MEASURES, figures_of
from espnet_part.score.bootstrap import (
    percentile_interval,
    resample_sums,
    two_sided_p_value,
)
from espnet_part.score.counting import Measured, measure
from espnet_part.score.error_rate import error_rates
from espnet_part.score.references import GroupKey, read_references
from espnet_part.score.score_config import ScoreConfig
from espnet_part.score.scoring import group_name, sum_arrays
from espnet_part.tasks import pair_label

BOOTSTRAP = "paired bootstrap, two-sided"
SACREBLEU = "sacreBLEU paired bootstrap"
TESTED = ("bleu", "chrf++")

_DRAWS = 2_000_000  # of sacreBLEU's test, held in memory at once


@dataclass(frozen=True)
class PairedResult:
    """A system against the baseline.

    Attributes:
        key: a language or direction; "pooled" over the languages of one unit; "average" for the
            macro average over all languages or directions.
        metric: "wer", "cer", "bleu" or "chrf++". The average over languages is called "wer"; each
            language enters by its own unit.
        difference: the system's figure less the baseline's, in points.
        low, high: the difference's interval; not a number where it is undefined.
        p_value: of the test that is named; never 0.
        samples: how many times the utterances were drawn.
        p_two_sided: of our paired bootstrap, for every metric.
    """

    task: str
    key: str
    metric: str
    system: str
    baseline: str
    difference: float
    low: float
    high: float
    p_value: float
    samples: int
    test: str = BOOTSTRAP
    p_two_sided: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Pair:
    """Figures of (baseline, system): the whole test set's, and each bootstrap sample's."""

    observed: tuple[float, float]
    resampled: tuple[np.ndarray, np.ndarray]
    utterances: int

    @property
    def least_p_value(self) -> float:
        return 2.0 ** (1 - min(self.utterances, 1000))


def compare_systems(
    ref_dir: str | Path,
    systems: Mapping[str, Mapping[str, str]],
    baseline: str,
    config: ScoreConfig = ScoreConfig(),  # noqa: B008 (it is frozen)
    tasks: Collection[str] | None = None,
    nj: int = 1,
) -> list[PairedResult]:
    """Compare each system with the baseline, by language or direction and overall.

    Args:
        ref_dir: the data directory that all were given.
        systems: hypotheses by utterance id, by name of the system; a missing one is empty.
        baseline: the name of the system to compare with.
        tasks: the tasks to look at; None for all that the directory has.
        nj: number of processes.

    Raises:
        ConfigError: the baseline is none of the systems, or the configuration draws no samples.
        DataError: the data directory is faulty.
    """
    _check(systems, baseline, config)
    references = read_references(ref_dir, tasks)
    measured = {
        name: measure(references, hypotheses, config, nj=nj) for name, hypotheses in systems.items()
    }
    return compare_measured(measured, baseline, config)


def compare_measured(
    measured: Mapping[str, Mapping[GroupKey, Measured]], baseline: str, config: ScoreConfig
) -> list[PairedResult]:
    """As `compare_systems`, of systems whose utterances have been counted already.

    Args:
        measured: what `measure` gave for each system, with one and the same references.

    Raises:
        ConfigError: the baseline is none of the systems, or the configuration draws no samples.
    """
    _check(measured, baseline, config)
    return [
        result
        for name in measured
        if name != baseline
        for result in _compare(measured[baseline], measured[name], baseline, name, config)
    ]


def _check(systems: Collection[str], baseline: str, config: ScoreConfig) -> None:
    if baseline not in systems:
        raise ConfigError(f"the baseline {baseline} is none of {', '.join(systems)}")
    if not config.bootstrap.samples:
        raise ConfigError("paired tests need `bootstrap: samples` above 0")


def _compare(
    first: Mapping[GroupKey, Measured],
    second: Mapping[GroupKey, Measured],
    baseline: str,
    system: str,
    config: ScoreConfig,
) -> Iterator[PairedResult]:
    def result(
        task: str, key: str, metric: str, pair: _Pair, sacrebleu: float | None = None
    ) -> PairedResult:
        difference = pair.observed[1] - pair.observed[0]
        with np.errstate(invalid="ignore"):  # an infinite rate less another
            differences = pair.resampled[1] - pair.resampled[0]
        interval = percentile_interval(differences, config.bootstrap.level)
        nothing = float("nan")
        least = pair.least_p_value
        p_value = nothing
        if interval is not None:
            p_value = max(least, two_sided_p_value(differences, difference))
        return PairedResult(
            task=task,
            key=key,
            metric=metric,
            system=system,
            baseline=baseline,
            difference=difference,
            low=nothing if interval is None else interval.low,
            high=nothing if interval is None else interval.high,
            p_value=p_value if sacrebleu is None else max(least, sacrebleu),
            samples=config.bootstrap.samples,
            test=BOOTSTRAP if sacrebleu is None else SACREBLEU,
            p_two_sided=p_value,
        )

    recognition: dict[str, list[_Pair]] = defaultdict(list)
    pools: dict[tuple[str, str], list[tuple[np.ndarray, int]]] = defaultdict(list)
    for key, group in first.items():
        if group.errors:
            task, source, target = key
            language = pair_label(source, target)
            metric, sums = _error_sums(key, group, second[key], config)
            pair = _error_pair(sums, len(group.utterances))
            yield result(task, language, metric, pair)
            recognition[task].append(pair)
            pools[task, metric].append((sums, pair.utterances))
    for (task, metric), members in pools.items():
        if len(members) > 1:
            sums = sum_arrays([sums for sums, _ in members])
            pair = _error_pair(sums, sum(utterances for _, utterances in members))
            yield result(task, "pooled", metric, pair)
    for task, pairs in recognition.items():
        if len(pairs) > 1:
            yield result(task, "average", "wer", _average(pairs))

    directions: dict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for key, group in first.items():
        if group.translations is None:
            continue
        task, source, target = key
        p_values = sacrebleu_p_values(group, second[key], config.bootstrap.samples)
        for measure_name, pair in _translation_pairs(key, group, second[key], config).items():
            yield result(
                task, pair_label(source, target), measure_name, pair, p_values[measure_name]
            )
            directions[task, measure_name].append(pair)
    for (task, measure_name), pairs in directions.items():
        if len(pairs) > 1:
            yield result(task, "average", measure_name, _average(pairs))


def _error_sums(
    key: GroupKey, first: Measured, second: Measured, config: ScoreConfig
) -> tuple[str, np.ndarray]:
    """Counts of both systems, side by side: first of the whole set, then of each sample."""
    unit = next(iter(first.errors))
    both = np.hstack([first.errors[unit], second.errors[unit]])
    resampled = resample_sums(both, config.bootstrap, group_name(key))
    return "wer" if unit == "word" else "cer", np.vstack([both.sum(axis=0), resampled])


def _error_pair(sums: np.ndarray, utterances: int) -> _Pair:
    one, two = (error_rates(part) for part in np.hsplit(sums, 2))
    return _Pair((float(one[0]), float(two[0])), (one[1:], two[1:]), utterances)


def _translation_pairs(
    key: GroupKey, first: Measured, second: Measured, config: ScoreConfig
) -> dict[str, _Pair]:
    both = np.hstack([_counts(first), _counts(second)])
    sums = np.vstack(
        [both.sum(axis=0), resample_sums(both, config.bootstrap, group_name(key))]
    ).astype(np.int64)
    one, two = (figures_of(part, first.tokenizer) for part in np.hsplit(sums, 2))
    return {
        name: _Pair(
            (float(one[0, c]), float(two[0, c])), (one[1:, c], two[1:, c]), len(first.utterances)
        )
        for c, name in enumerate(MEASURES)
        if name in TESTED
    }


def _average(pairs: Sequence[_Pair]) -> _Pair:
    observed = [float(np.mean([pair.observed[i] for pair in pairs])) for i in (0, 1)]
    resampled = [np.mean([pair.resampled[i] for pair in pairs], axis=0) for i in (0, 1)]
    utterances = sum(pair.utterances for pair in pairs)
    return _Pair((observed[0], observed[1]), (resampled[0], resampled[1]), utterances)


def _counts(group: Measured) -> np.ndarray:
    assert group.translations is not None
    return group.translations


def sacrebleu_p_values(first: Measured, second: Measured, samples: int) -> dict[str, float]:
    """The p-values of ``sacrebleu.significance.PairedTest(..., test_type="bs")``.

    The draws and the arithmetic are sacreBLEU's; only the memory is not, which it needs for all
    samples at once. Its seed is 12345 unless the variable SACREBLEU_SEED says otherwise.
    """
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    generator = np.random.default_rng(None if seed.lower() == "none" else int(seed) or None)
    both = np.hstack([_counts(first), _counts(second)]).astype(np.float64)
    utterances = len(both)
    sums = np.empty((samples + 1, both.shape[1]))
    sums[0] = both.sum(axis=0)
    rows = max(1, _DRAWS // utterances)
    for start in range(0, samples, rows):
        count = min(rows, samples - start)
        drawn = generator.choice(utterances, size=(count, utterances), replace=True)
        times = np.stack([np.bincount(row, minlength=utterances) for row in drawn])
        sums[start + 1 : start + 1 + count] = times.astype(np.float64) @ both
    one, two = (figures_of(part.astype(np.int64), first.tokenizer) for part in np.hsplit(sums, 2))
    differences = np.abs(two - one)
    centred = differences[1:] - differences[1:].mean(axis=0)
    # identical outputs differ in no sample; sacreBLEU's ">" would take that for significant
    extreme = ((centred > differences[0]) | ~differences.any(axis=0)).sum(axis=0)
    return {
        name: float((extreme[column] + 1) / (samples + 1))
        for column, name in enumerate(MEASURES)
        if name in TESTED
    }
