"""A model that writes how long the speech is, and waits until it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Windowing
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.serve.model import Decoded


class Fake:
    """Answers as `ServedModel` does.

    Attributes:
        gate: closed, batches wait at it.
        begun: whether a batch has come.
        batches: (direction, seconds) of the windows of each batch.
    """

    trained_on: frozenset[tuple[str, str, str]] = frozenset()

    def __init__(self, fails: Callable[[float], bool] = lambda seconds: False):
        self.fails = fails
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.batches: list[list[tuple[Direction, float]]] = []

    def why_strange(self, direction: Direction) -> str | None:
        return None

    def windowing(self, direction: Direction) -> Windowing:
        return Windowing(max_window=4.0)

    def decode(self, windows: Sequence[tuple[Any, np.ndarray]]) -> list[Decoded]:
        batch = [(direction, len(samples) / SAMPLE_RATE) for direction, samples in windows]
        self.begun.set()
        assert self.gate.wait(60)
        self.batches.append(batch)
        if any(self.fails(seconds) for _, seconds in batch):
            raise RuntimeError("does not like it")
        return [Decoded(f"{seconds:.1f}", [1, 2], -seconds, -seconds / 2) for _, seconds in batch]
