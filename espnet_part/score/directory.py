"""Scores of a whole data directory: hypotheses against `text`, by task and language.

Every utterance of the reference directory is scored. One without a hypothesis counts as empty
and is named; a hypothesis of an unknown utterance is named and left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from espnet_part.errors import DataError
from espnet_part.score.bleu import TranslationScore, score_translations, tokenizer_for
from espnet_part.score.error_rate import ErrorCounts, Unit, count_errors
from espnet_part.score.normalizers import (
    CER_LANGUAGES,
    base_language,
    count_combining_marks,
    drop_spaces,
    normalizer_for,
)

NAMES_SHOWN = 10
"""How many utterance ids a message lists; all of them are in the JSON file."""


@dataclass(frozen=True)
class ErrorGroup:
    """Error counts of one task in one language."""

    task: str
    language: str
    unit: Unit
    normalizer: str
    counts: ErrorCounts
    missing: int
    secondary: bool = False
    """Shown beside the language's own measure and left out of averages (Korean by words)."""

    @property
    def metric(self) -> str:
        return "wer" if self.unit == "word" else "cer"


@dataclass(frozen=True)
class TranslationGroup:
    """BLEU and chrF of one task in one direction, such as "de-en"."""

    task: str
    source: str
    target: str
    score: TranslationScore
    missing: int

    @property
    def direction(self) -> str:
        return f"{self.source}-{self.target}"


@dataclass
class Scores:
    """What `score_directory` found."""

    errors: list[ErrorGroup]
    translations: list[TranslationGroup]
    pooled_errors: dict[tuple[str, str], ErrorCounts]
    """By (task, "wer" or "cer"), over the languages measured in that unit."""
    pooled_translations: dict[tuple[str, str], TranslationScore]
    """By (task, tokenizer), over the directions that share the tokenizer."""
    utterances: int
    missing: list[str]
    unexpected: list[str]
    notes: list[str] = field(default_factory=list)

    def error_rate(self, language: str, task: str = "asr") -> float:
        """The error rate in percent, by words or characters as the language demands."""
        for group in self.errors:
            if (group.task, group.language, group.secondary) == (task, language, False):
                return group.counts.rate
        raise KeyError((task, language))

    def bleu(self, direction: str, task: str = "s2tt") -> float:
        for group in self.translations:
            if (group.task, group.direction) == (task, direction):
                return group.score.bleu
        raise KeyError((task, direction))

    def average_error_rate(self, task: str = "asr") -> float | None:
        """Macro average over languages, each by its own measure; None without any."""
        rates = [g.counts.rate for g in self.errors if g.task == task and not g.secondary]
        return fmean(rates) if rates else None

    def average_bleu(
        self, task: str = "s2tt", source: str | None = None, target: str | None = None
    ) -> float | None:
        """Macro average over directions, all or those with this source or target."""
        values = [
            group.score.bleu
            for group in self.translations
            if group.task == task
            and source in (None, group.source)
            and target in (None, group.target)
        ]
        return fmean(values) if values else None

    def as_dict(self) -> dict[str, Any]:
        """For score.json; rates and BLEU in percent, an undefined one is null.

        ``wer`` holds every language's error rate; ``cer`` repeats those counted in characters.
        ``bleu`` and ``chrf`` hold speech translation; other tasks are under ``tasks``.
        """
        main = [group for group in self.errors if not group.secondary]
        tasks: dict[str, dict[str, dict[str, float | None]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        for group in main:
            rate = _finite(group.counts.rate)
            tasks[group.task]["wer"][group.language] = rate
            if group.metric == "cer":
                tasks[group.task]["cer"][group.language] = rate
        for translation in self.translations:
            task = tasks[translation.task]
            task["bleu"][translation.direction] = translation.score.bleu
            task["chrf"][translation.direction] = translation.score.chrf
        averages: dict[str, dict[str, float | None]] = {}
        for name in tasks:
            candidates = {
                "wer": self.average_error_rate(name),
                "bleu": self.average_bleu(name),
                "bleu_into_en": self.average_bleu(name, target="en"),
                "bleu_out_of_en": self.average_bleu(name, source="en"),
            }
            averages[name] = {k: _finite(v) for k, v in candidates.items() if v is not None}
        return {
            "wer": dict(tasks.get("asr", {}).get("wer", {})),
            "cer": dict(tasks.get("asr", {}).get("cer", {})),
            "bleu": dict(tasks.get("s2tt", {}).get("bleu", {})),
            "chrf": dict(tasks.get("s2tt", {}).get("chrf", {})),
            "tasks": {name: {k: dict(v) for k, v in task.items()} for name, task in tasks.items()},
            "average": averages,
            "errors": [
                {
                    "task": group.task,
                    "language": group.language,
                    "metric": group.metric,
                    "normalizer": group.normalizer,
                    "secondary": group.secondary,
                    "missing": group.missing,
                    **_counts_dict(group.counts),
                }
                for group in self.errors
            ],
            "translations": [
                {
                    "task": group.task,
                    "direction": group.direction,
                    "missing": group.missing,
                    **asdict(group.score),
                }
                for group in self.translations
            ],
            "pooled_errors": [
                {"task": task, "metric": metric, **_counts_dict(counts)}
                for (task, metric), counts in self.pooled_errors.items()
            ],
            "pooled_translations": [
                {"task": task, **asdict(score)}
                for (task, _), score in self.pooled_translations.items()
            ],
            "utterances": self.utterances,
            "missing": self.missing,
            "unexpected": self.unexpected,
            "notes": self.notes,
            "scorer": {
                name: version(name)
                for name in ("espnet_part", "jiwer", "sacrebleu", "whisper-normalizer")
            },
        }


def score_directory(
    ref_dir: str | Path,
    hyp_text: str | Path | dict[str, str],
    cer_languages: frozenset[str] = CER_LANGUAGES,
    only_tasks: Collection[str] | None = None,
) -> Scores:
    """Score hypotheses against a data directory.

    Args:
        ref_dir: Kaldi-style directory with `text`, `utt2task`, `utt2lang`, `utt2tgt` (the last
            may leave out asr).
        hyp_text: a file of lines "utterance-id text", or the mapping itself.
        cer_languages: languages scored by characters.
        only_tasks: the tasks to score; None for all that the directory has.

    Returns:
        Error rates for the task asr, BLEU and chrF for every other task.

    Raises:
        DataError: a file is missing, unreadable, has an id twice, or does not match `text`.
    """
    ref_dir = Path(ref_dir)
    references = read_table(ref_dir / "text")
    if not references:
        raise DataError(f"{ref_dir / 'text'}: empty, nothing to score")
    tasks = _read_labels(ref_dir / "utt2task", references)
    if only_tasks is not None:
        references = {utt: text for utt, text in references.items() if tasks[utt] in only_tasks}
        if not references:
            has = ", ".join(sorted(set(tasks.values())))
            raise DataError(f"{ref_dir}: no utterance of {', '.join(only_tasks)}; it has {has}")
    languages = _read_labels(ref_dir / "utt2lang", references)
    spoken = {utt: languages[utt] for utt, task in tasks.items() if task == "asr"}
    targets = _read_labels(ref_dir / "utt2tgt", references, defaults=spoken)
    hypotheses = hyp_text if isinstance(hyp_text, dict) else read_table(hyp_text)

    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for utterance in references:
        task, source, target = tasks[utterance], languages[utterance], targets[utterance]
        if task == "asr" and source != target:
            raise DataError(f"{ref_dir}: {utterance}: asr from {source} into {target}")
        groups[task, source, target].append(utterance)

    scores = Scores(
        errors=[],
        translations=[],
        pooled_errors={},
        pooled_translations={},
        utterances=len(references),
        missing=sorted(references.keys() - hypotheses.keys()),
        unexpected=sorted(hypotheses.keys() - references.keys()),
    )
    pools: dict[tuple[str, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for (task, source, target), utterances in sorted(groups.items()):
        expected = [references[utterance] for utterance in utterances]
        got = [hypotheses.get(utterance, "") for utterance in utterances]
        missing = sum(utterance not in hypotheses for utterance in utterances)
        if task == "asr":
            scores.errors += _score_recognition(
                task, target, expected, got, missing, cer_languages, scores.notes
            )
        else:
            tokenizer = tokenizer_for(target)
            score = score_translations(expected, got, tokenizer)
            scores.translations.append(TranslationGroup(task, source, target, score, missing))
            pools[task, tokenizer][0].extend(expected)
            pools[task, tokenizer][1].extend(got)
    for group in scores.errors:
        if not group.secondary:
            key = (group.task, group.metric)
            scores.pooled_errors[key] = scores.pooled_errors.get(key, ErrorCounts()) + group.counts
    for (task, tokenizer), (expected, got) in pools.items():
        scores.pooled_translations[task, tokenizer] = score_translations(expected, got, tokenizer)
    scores.notes += _missing_notes(scores)
    return scores


def _score_recognition(
    task: str,
    language: str,
    references: list[str],
    hypotheses: list[str],
    missing: int,
    cer_languages: frozenset[str],
    notes: list[str],
) -> list[ErrorGroup]:
    normalize = normalizer_for(language)
    by_characters = base_language(language) in cer_languages
    units: list[Unit] = ["character"] if by_characters else ["word"]
    if base_language(language) == "ko" and by_characters:
        units.append("word")  # Whisper's own paper scores Korean by words
    marks = count_combining_marks(references) if normalize.name == "whisper-basic" else 0
    if marks:
        notes.append(
            f"{language}: whisper-basic turns {marks} combining marks of the references into "
            "spaces, which cuts words; compare this figure only with others made the same way"
        )
    expected = [normalize(text) for text in references]
    got = [normalize(text) for text in hypotheses]
    empty = sum(not text for text in expected)
    if empty:
        notes.append(f"{language}: {empty} references are empty after normalisation")
    groups: list[ErrorGroup] = []
    for unit in units:
        if unit == "character":
            counts = count_errors(
                [drop_spaces(text) for text in expected], [drop_spaces(text) for text in got], unit
            )
        else:
            counts = count_errors(expected, got, unit)
        groups.append(
            ErrorGroup(task, language, unit, normalize.name, counts, missing, bool(groups))
        )
    return groups


def _missing_notes(scores: Scores) -> list[str]:
    notes = []
    if scores.missing:
        notes.append(
            f"{len(scores.missing)} of {scores.utterances} utterances have NO HYPOTHESIS and "
            f"count as empty: {_some(scores.missing)}"
        )
    if scores.unexpected:
        notes.append(
            f"{len(scores.unexpected)} hypotheses belong to no reference and are left out: "
            f"{_some(scores.unexpected)}"
        )
    return notes


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _counts_dict(counts: ErrorCounts) -> dict[str, Any]:
    return {
        **asdict(counts),
        "rate": _finite(counts.rate),
        "sentence_rate": _finite(counts.sentence_rate),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else value


def _read_labels(
    path: Path, references: dict[str, str], defaults: dict[str, str] | None = None
) -> dict[str, str]:
    labels = {**(defaults or {})}
    if path.exists() or not labels.keys() >= references.keys():
        labels |= read_table(path)
    lacking = sorted(utterance for utterance in references if not labels.get(utterance))
    if lacking:
        raise DataError(
            f"{path}: no value for {len(lacking)} utterances of `text`: {_some(lacking)}"
        )
    return {utterance: labels[utterance] for utterance in references}


def read_table(path: str | Path) -> dict[str, str]:
    """Read lines "id value"; the value may hold spaces or be empty.

    Only a line feed ends a line: other line separators of Unicode may be part of a text.

    Raises:
        DataError: no such file, not UTF-8, or an id given twice.
    """
    table: dict[str, str] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
                if not key:
                    continue
                if key in table:
                    raise DataError(f"{path}: line {number}: the id {key} is given twice")
                table[key] = value.strip()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    return table
