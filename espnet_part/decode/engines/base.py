"""The interface of a decoding engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from torch import Tensor

from espnet_part.decode.budget import Budget
from espnet_part.decode.search import Search
from espnet_part.model.llm import LLM


class Prompt(NamedTuple):
    """What the LLM reads before it answers.

    Attributes:
        embeddings: (T, dim) of tokens and speech.
        limit: most tokens of the answer, end token included.
    """

    embeddings: Tensor
    limit: int

    @property
    def positions(self) -> int:
        """Most of the LLM's positions, with the answer."""
        return len(self.embeddings) + self.limit


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
    """Continues prompts, as many at once as it has room for.

    Args:
        llm: the language model.
        search: how answers are searched.
        budget: most prompts at once.
        context: what the model runs in, such as autocast.

    Attributes:
        budget: most prompts at once, from now on; no more than there were at first.
    """

    budget: Budget

    def __init__(
        self,
        llm: LLM,
        search: Search,
        budget: Budget,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None: ...

    @classmethod
    def check(cls, search: Search, budget: Budget) -> None:
        """Say what can be said before there is a model.

        Raises:
            ConfigError: the engine cannot search like this or keep such a budget, or cannot run here.
        """

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
