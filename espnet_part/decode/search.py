"""Settings of the search, and how many tokens a hypothesis may have."""

from __future__ import annotations

import math

import pydantic
from pydantic.dataclasses import dataclass

from espnet_part.errors import ConfigError


@dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid"))
class Search:
    """How hypotheses are searched; what decides which tokens come out.

    Attributes:
        beam_size: 1 is greedy search.
        nbest: hypotheses an utterance, the best of the beam.
        length_penalty: a beam's log-probability is divided by its length to this power.
        max_tokens_per_second: of audio. Fast speech has about 8 words in 2 seconds; tokens of
            single characters or bytes need the most.
        max_tokens_ratio: tokens a source token, for text tasks.
        max_tokens_extra: added to either limit, for very short inputs.
        max_new_tokens: a limit whatever the input; null for none.
        ctc_margin: a transcription that the adapter's CTC finds less likely than what it hears by
            itself, by more than so many nats a character, is replaced by that: it is recited, or
            repeats itself without end. Null never does so. For adapters that hear by CTC.
    """

    beam_size: int = 1
    nbest: int = 1
    length_penalty: float = 1.0
    max_tokens_per_second: float = 25.0
    max_tokens_ratio: float = 3.0
    max_tokens_extra: int = 10
    max_new_tokens: int | None = None
    ctc_margin: float | None = None

    def __post_init__(self) -> None:
        for key in (
            "beam_size",
            "nbest",
            "max_tokens_per_second",
            "max_tokens_ratio",
            "max_tokens_extra",
        ):
            if getattr(self, key) <= 0:
                raise ValueError(f"`{key}` must be positive (got {getattr(self, key)!r})")
        if self.nbest > self.beam_size:
            raise ValueError(
                f"`nbest` must not be more than `beam_size` (got {self.nbest} of {self.beam_size})"
            )
        if self.max_new_tokens is not None and self.max_new_tokens <= 0:
            raise ValueError(f"`max_new_tokens` must be positive (got {self.max_new_tokens})")
        if self.ctc_margin is not None and not self.ctc_margin >= 0:
            raise ValueError(f"`ctc_margin` must not be negative (got {self.ctc_margin})")

    def check_adapter(self, hears: bool, where: str = "search") -> None:
        """Check that a search which asks what the adapter hears has an adapter that can tell.

        Raises:
            ConfigError: it has not.
        """
        if self.ctc_margin is not None and not hears:
            raise ConfigError(
                f"{where}: ctc_margin: the model's speech_adapter does not hear by itself "
                "(`ctc_spelling` does)"
            )

    def per_token(self, score: float, tokens: int) -> float:
        """The mean log probability of a hypothesis's tokens; its score is of so many, the end token
        among them."""
        # greedy search gives a sum, beam search one that is divided by a power of the length
        power = 1.0 if self.beam_size == 1 else 1.0 - self.length_penalty
        return score / tokens**power

    def limit_speech(self, seconds: float) -> int:
        """Most new tokens for so many seconds of audio; no output is endless."""
        return self._limit(self.max_tokens_per_second * seconds)

    def limit_text(self, source_tokens: int) -> int:
        """Most new tokens for a source text of so many tokens."""
        return self._limit(self.max_tokens_ratio * source_tokens)

    def _limit(self, tokens: float) -> int:
        limit = math.ceil(tokens) + self.max_tokens_extra
        return limit if self.max_new_tokens is None else min(limit, self.max_new_tokens)
