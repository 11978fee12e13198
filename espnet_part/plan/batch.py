"""Batches of examples of one length: what a step's budget buys, and what it costs to compute."""

from __future__ import annotations

import math
from dataclasses import dataclass

FRAMES_PER_SECOND = 50  # encoder states, of Whisper


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

    @property
    def frames(self) -> int:
        """Encoder states."""
        return math.ceil(self.seconds * FRAMES_PER_SECOND)

    def positions(self, downsample: int) -> float:
        """Positions in the LLM."""
        return math.ceil(self.frames / downsample) + self.prompt + self.answer

    def cost(self, downsample: int, encoder_cost: float) -> float:
        """What it takes of ``batch_bins`` (see `espnet_part.data.batching.Cost`)."""
        return self.positions(downsample) + encoder_cost * self.frames


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        clips: number of clips. frames: encoder states of each.
        rows: number of rows. length: LLM positions of each.
        labels: labelled positions in all rows together.
        downsample: encoder states a position of the adapter.
    """

    clips: float
    frames: int
    rows: float
    length: float
    labels: float
    downsample: int

    def positions(self, part: str) -> float:
        """Positions that a part of the model computes."""
        if part == "llm":
            return self.rows * self.length
        return self.clips * self.span(part)

    def span(self, part: str) -> float:
        """Positions that attend to one another in a part."""
        if part == "llm":
            return self.length
        return self.frames if part == "encoder" else math.ceil(self.frames / self.downsample)


def make_batch(example: Example, rows: float, downsample: int, window: int = 0) -> Batch:
    """``rows`` examples of one length; text alone passes half a second of silence as well.

    Args:
        window: encoder states that every clip is padded to; 0 for none.
    """
    spoken = example.seconds > 0
    frames = example.frames if spoken else FRAMES_PER_SECOND // 2
    return Batch(
        clips=rows if spoken else 1,
        frames=max(frames, window),
        rows=rows,
        length=example.positions(downsample),
        labels=rows * example.answer,
        downsample=downsample,
    )
