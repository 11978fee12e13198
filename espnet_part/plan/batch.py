"""Batches of examples of one length: what a step's budget buys, and what it costs to compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_SILENCE = 0.5  # seconds that text alone sends through the encoder: `speech_llm.SILENCE`


@dataclass(frozen=True)
class Rates:
    """From seconds of speech to positions of the parts; encoder and adapter say how.

    Attributes:
        states_per_second: of the encoder.
        adapted: positions of the adapter, and of the speech in the LLM, for a number of states.
        window: encoder states that every clip is padded to; 0 for true lengths.
        silence: encoder states that are computed behind every clip.
    """

    states_per_second: float
    adapted: Callable[[int], int]
    window: int = 0
    silence: int = 0

    def states(self, seconds: float) -> int:
        """Encoder states of so much speech."""
        return math.ceil(seconds * self.states_per_second)

    def positions(self, seconds: float) -> int:
        """LLM positions of so much speech."""
        return self.adapted(self.states(seconds)) if seconds else 0


@dataclass(frozen=True)
class Example:
    """An example of average or of extreme length.

    Attributes:
        seconds: of speech; 0 for text.
        prompt: tokens of the prompt, the source text of a text task included.
        answer: target tokens with the end token.
    """

    seconds: float
    prompt: float
    answer: float

    def positions(self, rates: Rates) -> float:
        """Positions in the LLM."""
        return rates.positions(self.seconds) + self.prompt + self.answer

    def cost(self, rates: Rates, encoder_cost: float) -> float:
        """What it takes of ``batch_bins`` (see `espnet_part.data.batching.Cost`)."""
        return self.positions(rates) + encoder_cost * rates.states(self.seconds)


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        clips: number of clips. frames: encoder states of each. adapted: adapter's positions of each.
        rows: number of rows. length: LLM positions of each.
        labels: labelled positions in all rows together.
    """

    clips: float
    frames: int
    adapted: int
    rows: float
    length: float
    labels: float

    def positions(self, part: str) -> float:
        """Positions that a part of the model computes."""
        if part == "llm":
            return self.rows * self.length
        return self.clips * self.span(part)

    def span(self, part: str) -> float:
        """Positions that attend to one another in a part."""
        if part == "llm":
            return self.length
        return self.frames if part == "encoder" else self.adapted


def make_batch(example: Example, rows: float, rates: Rates) -> Batch:
    """``rows`` examples of one length; text alone passes half a second of silence as well."""
    spoken = example.seconds > 0
    states = rates.states(example.seconds if spoken else _SILENCE)
    return Batch(
        clips=rows if spoken else 1,
        frames=max(states + rates.silence, rates.window),
        adapted=rates.adapted(states),
        rows=rows,
        length=example.positions(rates),
        labels=rows * example.answer,
    )
