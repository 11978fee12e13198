"""Word and character error rates, counted by jiwer and pooled over utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["word", "character"]


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


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word"
) -> ErrorCounts:
    """Align each hypothesis with its reference; both are already normalised.

    An empty reference counts its hypothesis as insertions, an empty hypothesis its reference as
    deletions. With ``unit="character"`` a space is a character like others: drop it before.

    Raises:
        ValueError: the two lists differ in length.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    output = process(list(references), list(hypotheses))
    return ErrorCounts(
        sentences=len(references),
        wrong_sentences=sum(
            reference != hypothesis
            for reference, hypothesis in zip(output.references, output.hypotheses, strict=True)
        ),
        reference=output.hits + output.substitutions + output.deletions,
        correct=output.hits,
        substitutions=output.substitutions,
        deletions=output.deletions,
        insertions=output.insertions,
    )
