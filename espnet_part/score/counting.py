"""Counting each utterance on its own, in several processes where there are many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from espnet_part.data.parallel import run_jobs
from espnet_part.score.bleu import tokenizer_for, translation_statistics
from espnet_part.score.error_rate import Unit, error_statistics
from espnet_part.score.hallucination import SIGNS, find_signs
from espnet_part.score.normalizers import (
    count_combining_marks,
    drop_spaces,
    normalize_pair,
    normalizer_for,
)
from espnet_part.score.references import GroupKey, References
from espnet_part.score.score_config import ScoreConfig
from espnet_part.scripts import base_language, parts_words, runs_together
from espnet_part.tasks import TASKS

_JOB_SIZE = 500
"""Utterances a job; small enough to keep processes busy to the end."""
_WORTH_PROCESSES = 10_000
"""From so many utterances on, processes and a progress bar are worth their start."""
_ENOUGH = 1000
"""So many references tell the script of a language."""


@dataclass(frozen=True)
class Measured:
    """The counts of one group's utterances, sorted by id.

    Attributes:
        utterances: their ids.
        missing: those without a hypothesis; they are counted as empty.
        errors: `error_statistics` by unit, the language's own unit first; empty for translations.
        translations: `translation_statistics`; None for recognition.
        signs: of hallucination, (utterances, SIGNS).
        references, hypotheses: what was compared, normalised; raw for translations.
        normalizer, tokenizer: their names.
        lost_marks: combining marks of the references that the normaliser does not see.
        characters: of the references, without spaces.
    """

    utterances: list[str]
    missing: list[str]
    errors: dict[Unit, np.ndarray]
    translations: np.ndarray | None
    signs: np.ndarray
    references: list[str]
    hypotheses: list[str]
    normalizer: str = ""
    tokenizer: str = ""
    lost_marks: int = 0
    characters: int = 0


@dataclass(frozen=True)
class _Job:
    key: GroupKey
    units: list[Unit]
    tokenizer: str
    references: list[str]
    hypotheses: list[str]
    seconds: list[float | None]
    config: ScoreConfig


@dataclass(frozen=True)
class _Result:
    errors: dict[Unit, np.ndarray]
    translations: np.ndarray | None
    signs: np.ndarray
    references: list[str]
    hypotheses: list[str]
    lost_marks: int = 0
    characters: int = 0


def measure(
    references: References,
    hypotheses: Mapping[str, str],
    config: ScoreConfig,
    durations: Mapping[str, float] | None = None,
    nj: int = 1,
) -> dict[GroupKey, Measured]:
    """Compare every reference with its hypothesis, group by group.

    Args:
        durations: seconds of audio by utterance, as far as known.
        nj: number of processes; what comes out does not depend on it.

    Raises:
        ConfigError: a dictionary or a converter is not installed.
    """
    durations = durations or {}
    jobs = []
    tokenizers: dict[GroupKey, str] = {}
    for key, utterances in references.groups.items():
        texts = [references.texts[utt] for utt in utterances[:_ENOUGH]]
        units = units_of(key[2], config, texts)
        if TASKS[key[0]].scored_by == "bleu":
            tokenizers[key] = tokenizer_for(key[2], texts)
        for start in range(0, len(utterances), _JOB_SIZE):
            chosen = utterances[start : start + _JOB_SIZE]
            jobs.append(
                _Job(
                    key,
                    units,
                    tokenizers.get(key, ""),
                    [references.texts[utt] for utt in chosen],
                    [hypotheses.get(utt, "") for utt in chosen],
                    [durations.get(utt) for utt in chosen],
                    config,
                )
            )
    results: dict[GroupKey, list[_Result]] = {key: [] for key in references.groups}
    few = len(jobs) * _JOB_SIZE < _WORTH_PROCESSES
    done = map(_measure, jobs) if few else run_jobs(_measure, jobs, nj, "Scoring")
    for job, result in zip(jobs, done, strict=True):
        results[job.key].append(result)
    return {
        key: _join(key, references.groups[key], parts, hypotheses, config, tokenizers.get(key, ""))
        for key, parts in results.items()
    }


def units_of(language: str, config: ScoreConfig, references: Iterable[str] = ()) -> list[Unit]:
    """In what a language's recognition is counted; what comes second is shown beside the first.

    Args:
        references: what is in fact written; a language can have several scripts.
    """
    base = base_language(language)
    if base in map(base_language, config.wer_languages):
        return ["word"]
    if not parts_words(language) or runs_together(references):
        return ["character"]
    # with spaces between words both units have a meaning: Whisper's own paper scores Korean by words
    chosen = base in map(base_language, config.cer_languages)
    return ["character", "word"] if chosen else ["word"]


def _measure(job: _Job) -> _Result:
    task, _, target = job.key
    if TASKS[task].scored_by == "bleu":
        counts = translation_statistics(job.references, job.hypotheses, job.tokenizer)
        signs = _signs(job, job.references, job.hypotheses, job.units[0])
        return _Result({}, counts, signs, job.references, job.hypotheses)
    normalize = normalizer_for(target, job.config.normalizer, job.config.chinese_script)
    expected, got = [], []
    for pair in zip(job.references, job.hypotheses, strict=True):
        reference, hypothesis = normalize_pair(normalize, target, *pair)
        expected.append(reference)
        got.append(hypothesis)
    lost = count_combining_marks(job.references) - count_combining_marks(expected)
    errors: dict[Unit, np.ndarray] = {}
    for unit in job.units:
        if unit == "word":
            errors[unit] = error_statistics(expected, got, unit)
        else:
            errors[unit] = error_statistics(
                [drop_spaces(text) for text in expected], [drop_spaces(text) for text in got], unit
            )
    signs = _signs(job, expected, got, job.units[0])
    characters = sum(len(drop_spaces(text)) for text in job.references)
    return _Result(errors, None, signs, expected, got, max(0, lost), characters)


def _signs(job: _Job, references: list[str], hypotheses: list[str], unit: Unit) -> np.ndarray:
    found = np.zeros((len(references), len(SIGNS)), dtype=np.int64)
    cut = str.split if unit == "word" else drop_spaces
    for row, reference, hypothesis, seconds in zip(
        found, references, hypotheses, job.seconds, strict=True
    ):
        for sign in find_signs(
            cut(reference), cut(hypothesis), unit, seconds, job.config.hallucination
        ):
            row[SIGNS.index(sign)] = 1
    return found


def _join(
    key: GroupKey,
    utterances: list[str],
    parts: list[_Result],
    hypotheses: Mapping[str, str],
    config: ScoreConfig,
    tokenizer: str,
) -> Measured:
    task, _, target = key
    recognition = TASKS[task].scored_by == "error_rate"
    normalizer = normalizer_for(target, config.normalizer, config.chinese_script)
    translations = [part.translations for part in parts if part.translations is not None]
    return Measured(
        utterances=utterances,
        missing=[utt for utt in utterances if utt not in hypotheses],
        errors={
            unit: np.concatenate([part.errors[unit] for part in parts]) for unit in parts[0].errors
        },
        translations=np.concatenate(translations) if translations else None,
        signs=np.concatenate([part.signs for part in parts]),
        references=[text for part in parts for text in part.references],
        hypotheses=[text for part in parts for text in part.hypotheses],
        normalizer=normalizer.name if recognition else "",
        tokenizer=tokenizer,
        lost_marks=sum(part.lost_marks for part in parts),
        characters=sum(part.characters for part in parts),
    )
