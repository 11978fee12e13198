"""What scoring found: figures by language and direction, averages, and their JSON form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from espnet_part.score.bleu import MEASURES, TranslationScore
from espnet_part.score.bootstrap import Interval, percentile_interval
from espnet_part.score.error_rate import ErrorCounts, Unit
from espnet_part.score.score_config import ScoreConfig
from espnet_part.tasks import ASR, S2TT

POOLED = "pooled"


@dataclass(frozen=True)
class ErrorGroup:
    """Error counts of one task in one language, or of the languages that share a unit."""

    task: str
    language: str
    unit: Unit
    normalizer: str
    counts: ErrorCounts
    missing: int
    resampled: np.ndarray = field(repr=False, compare=False)
    """Error rate and sentence error rate of each bootstrap sample, (samples, 2)."""
    secondary: bool = False
    """Shown beside the language's own measure and left out of averages (Korean by words)."""

    @property
    def metric(self) -> str:
        return "wer" if self.unit == "word" else "cer"

    def as_dict(self, level: float) -> dict[str, Any]:
        return {
            "task": self.task,
            "language": self.language,
            "metric": self.metric,
            "normalizer": self.normalizer,
            "secondary": self.secondary,
            "missing": self.missing,
            **asdict(self.counts),
            "rate": _finite(self.counts.rate),
            "interval": _plain(percentile_interval(self.resampled[:, 0], level)),
            "sentence_rate": self.counts.sentence_rate,
            "sentence_interval": _plain(percentile_interval(self.resampled[:, 1], level)),
        }


@dataclass(frozen=True)
class TranslationGroup:
    """BLEU, chrF and chrF++ of one task in one direction, such as "de-en", or of several."""

    task: str
    direction: str
    score: TranslationScore
    missing: int
    resampled: np.ndarray = field(repr=False, compare=False)
    """`MEASURES` of each bootstrap sample, (samples, 3)."""

    def goes(self, source: str | None, target: str | None) -> bool:
        """Whether this is a direction from ``source`` to ``target``; None for any language."""
        first, _, second = self.direction.partition("-")
        return source in (None, first) and target in (None, second)

    def as_dict(self, level: float) -> dict[str, Any]:
        bleu, chrf, chrf_plus = (
            _plain(percentile_interval(column, level)) for column in self.resampled.T
        )
        return {
            "task": self.task,
            "direction": self.direction,
            "missing": self.missing,
            **self.score.as_dict(),
            "interval": bleu,
            "chrf_interval": chrf,
            "chrf++_interval": chrf_plus,
        }


@dataclass(frozen=True)
class Average:
    """A macro average over languages or directions, and that of each bootstrap sample."""

    value: float
    resampled: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class SignCounts:
    """How many utterances of a language or direction show signs of hallucination."""

    task: str
    key: str
    utterances: int
    flagged: int
    signs: dict[str, int | None]
    """Utterances by sign (see `hallucination.SIGNS`); None where it could not be looked for."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "key": self.key,
            "utterances": self.utterances,
            "flagged": self.flagged,
            **self.signs,
        }


@dataclass
class Scores:
    """What `score_directory` found.

    Attributes:
        pooled_errors: by task and metric, over the languages measured in that unit.
        pooled_translations: by task and tokenizer, over the directions that share it.
        utterances: all of them, those without a hypothesis included.
        missing: without a hypothesis, hence counted as empty.
        unexpected: hypotheses that no reference has; they are left out.
        flagged: signs of hallucination by utterance.
        corpus: release, split and counts, from the reference directory's corpus.json.
    """

    config: ScoreConfig
    errors: list[ErrorGroup]
    translations: list[TranslationGroup]
    pooled_errors: list[ErrorGroup]
    pooled_translations: list[TranslationGroup]
    utterances: int
    missing: list[str]
    unexpected: list[str]
    hallucinations: list[SignCounts] = field(default_factory=list)
    flagged: dict[str, list[str]] = field(default_factory=dict)
    corpus: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def error_rate(self, language: str, task: str = ASR.name) -> float:
        """The error rate in percent, by words or characters as the language demands."""
        for group in self.errors:
            if (group.task, group.language, group.secondary) == (task, language, False):
                return group.counts.rate
        raise KeyError((task, language))

    def bleu(self, direction: str, task: str = S2TT.name) -> float:
        for group in self.translations:
            if (group.task, group.direction) == (task, direction):
                return group.score.bleu
        raise KeyError((task, direction))

    def average_error_rate(self, task: str = ASR.name) -> Average | None:
        """Macro average over languages, each by its own measure; None without any."""
        groups = [g for g in self.errors if g.task == task and not g.secondary]
        return _average([g.counts.rate for g in groups], [g.resampled[:, 0] for g in groups])

    def average_translation(
        self,
        measure: str = "bleu",
        task: str = S2TT.name,
        source: str | None = None,
        target: str | None = None,
    ) -> Average | None:
        """Macro average over directions, all or those with this source or target."""
        column = MEASURES.index(measure)
        groups = [g for g in self.translations if g.task == task and g.goes(source, target)]
        return _average(
            [g.score.as_dict()[measure] for g in groups], [g.resampled[:, column] for g in groups]
        )

    def as_dict(self) -> dict[str, Any]:
        """For score.json; rates, BLEU and chrF in percent, an undefined one is null.

        ``tasks[task][measure][key]`` has every figure and ``intervals[task][measure][key]`` its
        ``{"low", "high"}`` (null where undefined or not asked for); ``average[task][name]`` and
        ``average_intervals[task][name]`` likewise. The key is a language or a direction, the
        measure one of wer, cer, bleu, chrf, chrf++. ``wer`` holds every language's error rate,
        ``cer`` repeats those counted in characters. The plain ``wer`` and ``cer`` are those of
        asr, the plain ``bleu``, ``chrf`` and ``chrf++`` those of s2tt. In ``errors`` and
        ``translations`` the ``interval`` is that of the rate and of BLEU.
        """
        level = self.config.bootstrap.level
        errors = [group.as_dict(level) for group in self.errors]
        translations = [group.as_dict(level) for group in self.translations]
        tasks: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
        intervals: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
        for group in errors:
            if not group["secondary"]:
                task, language = group["task"], group["language"]
                for measure in {"wer", group["metric"]}:
                    tasks[task][measure][language] = group["rate"]
                    intervals[task][measure][language] = group["interval"]
        for group in translations:
            task, direction = group["task"], group["direction"]
            for measure in MEASURES:
                tasks[task][measure][direction] = group[measure]
                key = "interval" if measure == "bleu" else f"{measure}_interval"
                intervals[task][measure][direction] = group[key]
        averages = {task: self._averages(task) for task in tasks}
        return {
            "wer": dict(tasks.get(ASR.name, {}).get("wer", {})),
            "cer": dict(tasks.get(ASR.name, {}).get("cer", {})),
            **{measure: dict(tasks.get(S2TT.name, {}).get(measure, {})) for measure in MEASURES},
            "tasks": {name: {k: dict(v) for k, v in task.items()} for name, task in tasks.items()},
            "intervals": {
                name: {k: dict(v) for k, v in task.items()} for name, task in intervals.items()
            },
            "average": {
                task: {name: _finite(average.value) for name, average in named.items()}
                for task, named in averages.items()
            },
            "average_intervals": {
                task: {
                    name: _plain(percentile_interval(average.resampled, level))
                    for name, average in named.items()
                }
                for task, named in averages.items()
            },
            "errors": errors,
            "translations": translations,
            "pooled_errors": [group.as_dict(level) for group in self.pooled_errors],
            "pooled_translations": [group.as_dict(level) for group in self.pooled_translations],
            "utterances": self.utterances,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "hallucinations": {
                "thresholds": asdict(self.config.hallucination),
                "groups": [counts.as_dict() for counts in self.hallucinations],
                "utterances": self.flagged,
            },
            "corpus": self.corpus,
            "normalizer": self.config.normalizer,
            "chinese_script": self.config.chinese_script,
            "bootstrap": asdict(self.config.bootstrap),
            "versions": self.versions,
            "scorer": self.versions,
            "notes": list(self.notes),
        }

    def _averages(self, task: str) -> dict[str, Average]:
        found = {
            "wer": self.average_error_rate(task),
            "bleu": self.average_translation("bleu", task),
            "bleu_into_en": self.average_translation("bleu", task, target="en"),
            "bleu_out_of_en": self.average_translation("bleu", task, source="en"),
            "chrf": self.average_translation("chrf", task),
            "chrf++": self.average_translation("chrf++", task),
        }
        return {name: average for name, average in found.items() if average is not None}


def _average(values: Sequence[float], resampled: Sequence[np.ndarray]) -> Average | None:
    if not values:
        return None
    # languages are resampled independently, so their samples can be averaged one by one
    return Average(float(np.mean(values)), np.mean(resampled, axis=0))


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval.as_dict()
