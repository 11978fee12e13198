"""Scores of a whole data directory: hypotheses against `text`, by task and language.

Every utterance of the reference directory is scored. One without a hypothesis counts as empty
and is named; a hypothesis of an unknown utterance is named and left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from espnet_part.kaldi import read_table
from espnet_part.score.bleu import figures_of, score_statistics
from espnet_part.score.bootstrap import resample_sums
from espnet_part.score.counting import Measured, measure
from espnet_part.score.error_rate import COLUMNS, ErrorCounts, Unit, error_rates
from espnet_part.score.hallucination import LONGER_THAN_SPEECH, SIGNS
from espnet_part.score.origin import read_corpus, scorer_versions
from espnet_part.score.references import (
    GroupKey,
    read_references,
    some_names,
)
from espnet_part.score.results import (
    POOLED,
    ErrorGroup,
    Scores,
    SignCounts,
    TranslationGroup,
)
from espnet_part.score.score_config import ScoreConfig
from espnet_part.tasks import pair_label


def score_directory(
    ref_dir: str | Path,
    hypotheses: str | Path | Mapping[str, str],
    config: ScoreConfig = ScoreConfig(),  # noqa: B008 (it is frozen)
    tasks: Collection[str] | None = None,
    durations: Mapping[str, float] | None = None,
    nj: int = 1,
) -> Scores:
    """Score hypotheses against a data directory.

    Args:
        ref_dir: Kaldi-style directory with `text`, `utt2task`, `utt2lang`, `utt2tgt` (the last
            may leave out asr).
        hypotheses: a file of lines "utterance-id text", or the mapping itself.
        tasks: the tasks to score; None for all that the directory has.
        durations: seconds of audio by utterance, to find outputs longer than the speech.
        nj: number of processes; the scores do not depend on it.

    Returns:
        Error rates, or BLEU, chrF and chrF++, as each task is scored.

    Raises:
        DataError: a file is missing, unreadable, has an id twice, or does not match `text`.
        ConfigError: a dictionary or a converter that is needed is not installed.
    """
    references = read_references(ref_dir, tasks)
    if not isinstance(hypotheses, Mapping):
        hypotheses = read_table(hypotheses)
    measured = measure(references, hypotheses, config, durations, nj)
    return summarize(measured, hypotheses, config, durations or {}, ref_dir)


def summarize(
    measured: Mapping[GroupKey, Measured],
    hypotheses: Mapping[str, str],
    config: ScoreConfig,
    durations: Mapping[str, float],
    ref_dir: str | Path,
) -> Scores:
    """Turn the counts of utterances into figures with their bootstrap samples."""
    known = {utt for group in measured.values() for utt in group.utterances}
    scores = Scores(
        config=config,
        errors=[],
        translations=[],
        pooled_errors=[],
        pooled_translations=[],
        utterances=len(known),
        missing=sorted(utt for group in measured.values() for utt in group.missing),
        unexpected=sorted(hypotheses.keys() - known),
        corpus=read_corpus(ref_dir),
        versions=scorer_versions(),
    )
    _add_errors(scores, measured)
    _add_translations(scores, measured)
    for key, group in measured.items():
        scores.hallucinations.append(_count_signs(key, group, durations))
        for utterance, row in zip(group.utterances, group.signs, strict=True):
            if row.any():
                scores.flagged[utterance] = [SIGNS[column] for column in np.flatnonzero(row)]
    scores.notes += _missing_notes(scores)
    return scores


def _add_errors(scores: Scores, measured: Mapping[GroupKey, Measured]) -> None:
    pools: dict[tuple[str, Unit], list[tuple[ErrorGroup, np.ndarray]]] = defaultdict(list)
    for key, group in measured.items():
        if not group.errors:
            continue
        task, source, target = key
        language = pair_label(source, target)
        _note_references(scores.notes, language, group)
        resampled = resample_sums(
            np.hstack(list(group.errors.values())), scores.config.bootstrap, group_name(key)
        )
        for number, (unit, statistics) in enumerate(group.errors.items()):
            sums = resampled[:, number * len(COLUMNS) : (number + 1) * len(COLUMNS)]
            scored = ErrorGroup(
                task,
                language,
                unit,
                group.normalizer,
                ErrorCounts.of(statistics),
                len(group.missing),
                _error_figures(sums, len(statistics)),
                secondary=number > 0,
            )
            scores.errors.append(scored)
            if not scored.secondary:
                pools[task, unit].append((scored, sums))
    for (task, unit), members in pools.items():
        counts = sum((scored.counts for scored, _ in members), ErrorCounts())
        normalizers = sorted({scored.normalizer for scored, _ in members})
        scores.pooled_errors.append(
            ErrorGroup(
                task,
                POOLED,
                unit,
                ", ".join(normalizers),
                counts,
                sum(scored.missing for scored, _ in members),
                # each language keeps its size, as the test set has it by design
                _error_figures(sum_arrays([sums for _, sums in members]), counts.sentences),
            )
        )


def _add_translations(scores: Scores, measured: Mapping[GroupKey, Measured]) -> None:
    pools: dict[tuple[str, str], list[tuple[Measured, np.ndarray]]] = defaultdict(list)
    for key, group in measured.items():
        if group.translations is None:
            continue
        task, source, target = key
        sums = resample_sums(group.translations, scores.config.bootstrap, group_name(key))
        scores.translations.append(
            TranslationGroup(
                task,
                pair_label(source, target),
                score_statistics(group.translations, group.tokenizer),
                len(group.missing),
                figures_of(sums, group.tokenizer),
            )
        )
        pools[task, group.tokenizer].append((group, sums))
    for (task, tokenizer), members in pools.items():
        statistics = [group.translations for group, _ in members if group.translations is not None]
        scores.pooled_translations.append(
            TranslationGroup(
                task,
                POOLED,
                score_statistics(np.concatenate(statistics), tokenizer),
                sum(len(group.missing) for group, _ in members),
                figures_of(sum_arrays([sums for _, sums in members]), tokenizer),
            )
        )


def group_name(key: GroupKey) -> str:
    """What names a group to the bootstrap, in scores and in paired tests alike."""
    return " ".join(key)


def sum_arrays(arrays: list[np.ndarray]) -> np.ndarray:
    """Add arrays of one shape."""
    return np.sum(arrays, axis=0)


def _error_figures(sums: np.ndarray, sentences: int) -> np.ndarray:
    return np.stack([error_rates(sums), 100.0 * sums[:, 5] / sentences], axis=1)


def _note_references(notes: list[str], language: str, group: Measured) -> None:
    if group.lost_marks:
        share = 100 * group.lost_marks / group.characters
        notes.append(
            f"{language}: {group.normalizer} turns {group.lost_marks} combining marks of the "
            f"references into spaces ({share:.1f} % of their characters) AND DOES "
            "NOT SEE THEM: wrong ones count as right, and words are cut; compare this figure only with "
            "others made the same way. the normaliser whisper_keep_marks sees them"
        )
    empty = [number for number, text in enumerate(group.references) if not text]
    if empty:
        unit, counts = next(iter(group.errors.items()))
        inserted = int(counts[empty][:, COLUMNS.index("insertions")].sum())
        notes.append(
            f"{language}: {len(empty)} references are empty after normalisation; the "
            f"{inserted} {unit}s of their hypotheses count as insertions"
        )


def _count_signs(key: GroupKey, group: Measured, durations: Mapping[str, float]) -> SignCounts:
    task, source, target = key
    heard = any(utterance in durations for utterance in group.utterances)
    by_sign: dict[str, int | None] = dict(zip(SIGNS, group.signs.sum(axis=0).tolist(), strict=True))
    if not heard:
        by_sign[LONGER_THAN_SPEECH] = None
    return SignCounts(
        task,
        pair_label(source, target),
        len(group.utterances),
        int(group.signs.any(axis=1).sum()),
        by_sign,
    )


def _missing_notes(scores: Scores) -> list[str]:
    notes = []
    if scores.missing:
        notes.append(
            f"{len(scores.missing)} of {scores.utterances} utterances have NO HYPOTHESIS and "
            f"count as empty: {some_names(scores.missing)}"
        )
    if scores.unexpected:
        notes.append(
            f"{len(scores.unexpected)} hypotheses belong to no reference and are left out: "
            f"{some_names(scores.unexpected)}"
        )
    return notes
