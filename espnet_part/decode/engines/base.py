"""The interface of a decoding engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from torch import Tensor


class Prompt(NamedTuple):
    """What the LLM reads before it answers.

    Attributes:
        embeddings: (T, dim) of tokens and speech.
        limit: most tokens of the answer, end token included.
    """

    embeddings: Tensor
    limit: int


class Answer(NamedTuple):
    """What the LLM wrote.

    Attributes:
        tokens: without the end token.
        score: natural logarithm of its probability, end token included; in beam search normalised
            by length.
        others: further answers, the next best first, as many as were asked for.
    """

    tokens: list[int]
    score: float
    others: tuple[Answer, ...] = ()


class Engine(Protocol):
    """Continues prompts, as many at once as it has room for."""

    def generate(
        self, prompts: Iterable[Prompt | Exception | None]
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Answer a stream of prompts.

        Args:
            prompts: the next one is asked for when there is room. None says that there is none at
                present, so that what runs goes on; an exception, that this one could not be made,
                and is handed on as its answer. For speed, neighbours are of like length.

        Yields:
            The number of a prompt (from 0; None does not count) and its answer, or what went wrong
            with it alone. In any order: short answers overtake long ones.
        """
