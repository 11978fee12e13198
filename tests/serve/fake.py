"""A model that writes how long the speech is, and waits until it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from espnet_part.decode.detect import Guess
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
        spoken: what is detected in a window of so many seconds.
        detected: seconds of the windows of which the language was asked for.
    """

    trained_on: frozenset[tuple[str, str, str]] = frozenset()

    size = 3

    def __init__(self, fails: Callable[[float], bool] = lambda seconds: False):
        self.fails = fails
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.spoken = lambda seconds: [Guess("de", 0.75), Guess("en", 0.25)]
        self.detected: list[float] = []
        self.batches: list[list[tuple[Direction, float]]] = []

    def why_strange(self, direction: Direction) -> str | None:
        return None

    def windowing(self, direction: Direction) -> Windowing:
        return Windowing(max_window=4.0)

    def detect(self, direction: Direction, samples: np.ndarray) -> Decoded:
        assert not direction.lang
        seconds = len(samples) / SAMPLE_RATE
        self.detected.append(seconds)
        return Decoded("", [], 0.0, 0.0, self.spoken(seconds))

    def decode_stream(
        self, windows: Iterable[tuple[Direction, np.ndarray] | None]
    ) -> Iterator[tuple[int, Decoded | None, str]]:
        """Batch after batch of what waits, at most `size`."""
        batch: list[tuple[Direction, float]] = []
        count = 0
        for window in windows:
            if window is not None:
                batch.append((window[0], len(window[1]) / SAMPLE_RATE))
                self.begun.set()
            if batch and (window is None or len(batch) == self.size):
                assert self.gate.wait(60)
                self.batches.append(batch)
                for number, (_, seconds) in enumerate(batch, count):
                    if self.fails(seconds):
                        yield number, None, "RuntimeError: does not like it"
                    else:
                        text = f"{seconds:.1f}"
                        yield number, Decoded(text, [1, 2], -seconds, -seconds / 2), ""
                count += len(batch)
                batch = []
