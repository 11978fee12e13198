"""Word and character error rates, counted by jiwer and pooled over utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Unit = Literal["word", "character"]

COLUMNS = ("reference", "correct", "substitutions", "deletions", "insertions", "wrong_sentences")
"""What `error_statistics` counts of an utterance."""


@dataclass(frozen=True)
class ErrorCounts:
    """Edit operations that turn references into hypotheses, in words or in characters."""

    sentences: int = 0
    wrong_sentences: int = 0
    reference: int = 0
    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @staticmethod
    def of(statistics: np.ndarray) -> ErrorCounts:
        """The sum over utterances of `error_statistics`."""
        sums = (int(value) for value in statistics.sum(axis=0))
        return ErrorCounts(sentences=len(statistics), **dict(zip(COLUMNS, sums, strict=True)))

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.sentences + other.sentences,
            self.wrong_sentences + other.wrong_sentences,
            self.reference + other.reference,
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors in percent of the reference's units; above 100 where much is inserted.

        Without any reference unit it is 0 if nothing is inserted, and infinite otherwise.
        """
        return self.percent(self.errors)

    @property
    def sentence_rate(self) -> float:
        """Sentences with at least one error, in percent."""
        return 100.0 * self.wrong_sentences / self.sentences if self.sentences else 0.0

    def percent(self, count: int) -> float:
        """A count in percent of the reference's units."""
        if self.reference:
            return 100.0 * count / self.reference
        return float("inf") if count else 0.0


def error_statistics(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word"
) -> np.ndarray:
    """Align each hypothesis with its reference; both are already normalised.

    An empty reference counts its hypothesis as insertions, an empty hypothesis its reference as
    deletions. With ``unit="character"`` a space is a character like others: drop it before.

    Returns:
        Whole numbers, (utterances, `COLUMNS`).

    Raises:
        ValueError: the two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    counts = np.zeros((len(references), len(COLUMNS)), dtype=np.int64)
    if not references:
        return counts

    import jiwer

    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    output = process(list(references), list(hypotheses))
    column = {"equal": 1, "substitute": 2, "delete": 3, "insert": 4}
    for row, chunks in zip(counts, output.alignments, strict=True):
        for chunk in chunks:
            if chunk.type == "insert":
                row[4] += chunk.hyp_end_idx - chunk.hyp_start_idx
            else:
                row[column[chunk.type]] += chunk.ref_end_idx - chunk.ref_start_idx
    counts[:, 0] = counts[:, 1:4].sum(axis=1)
    counts[:, 5] = counts[:, 2:5].any(axis=1)
    return counts


def error_rates(sums: np.ndarray) -> np.ndarray:
    """Error rates in percent of sums of `error_statistics`, (samples, `COLUMNS`) -> (samples,)."""
    errors, reference = sums[:, 2:5].sum(axis=1), sums[:, 0]
    rates = np.where(errors > 0, np.inf, 0.0)
    np.divide(100.0 * errors, reference, out=rates, where=reference > 0)
    return rates


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word"
) -> ErrorCounts:
    """The sum of `error_statistics` over all utterances."""
    return ErrorCounts.of(error_statistics(references, hypotheses, unit))
