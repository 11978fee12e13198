"""The model as the server uses it: what it can do, how audio is cut for it, and its answers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from espnet_part.data.datadir import Example
from espnet_part.decode.longform import Windowing
from espnet_part.decode.transcribe import fit_windows
from espnet_part.errors import UserError
from espnet_part.tasks import ASR, S2TT

if TYPE_CHECKING:
    from espnet_part.decode.speech2text import Speech2Text


class Direction(NamedTuple):
    """A task, the language heard, and the language written."""

    task: str
    lang: str
    tgt: str


class Decoded(NamedTuple):
    """What was said in a window.

    Attributes:
        score: its log-probability, as `part_transcribe` writes it.
        average: the mean log-probability of its tokens, the end token among them.
    """

    text: str
    tokens: list[int]
    score: float
    average: float


class ServedModel:
    """A `Speech2Text` that several threads ask and one runs.

    Args:
        model: decodes.
        windows: of `Windowing` by name, as `fit_windows` takes them.
    """

    def __init__(self, model: Speech2Text, windows: dict[str, float]):
        self.model = model
        self.trained_on = model.trained_on
        self._windows = windows
        self._windowing: dict[Direction, Windowing] = {}
        self._lock = threading.Lock()  # the tokenizer is not to be used by two threads at once
        for task, lang, tgt in sorted(model.trained_on):
            if task in (ASR.name, S2TT.name):
                with contextlib.suppress(UserError):  # whoever asks for it is told
                    self.windowing(Direction(task, lang, tgt))

    def windowing(self, direction: Direction) -> Windowing:
        """How audio is cut.

        Raises:
            ConfigError, DataError: as `fit_windows`.
        """
        with self._lock:
            if direction not in self._windowing:
                self._windowing[direction] = fit_windows(self.model, *direction, self._windows)
            return self._windowing[direction]

    def why_strange(self, direction: Direction) -> str | None:
        """What is to be said of what the model was not trained on; None for all else."""
        return self.model.why_strange(*direction)

    def decode(self, windows: Sequence[tuple[Direction, np.ndarray]]) -> list[Decoded]:
        """Decode (samples,) 16 kHz windows as one batch; raises whatever one of them provokes."""
        examples = [
            Example(str(n), *direction, "", audio="") for n, (direction, _) in enumerate(windows)
        ]
        with self._lock:
            found = self.model.decode_batch(examples, [samples for _, samples in windows])
        search = self.model.search
        decoded = []
        for ((text, _, ids, score),) in found:
            # greedy search gives a sum, beam search one that is divided by a power of the length
            power = 1.0 if search.beam_size == 1 else 1.0 - search.length_penalty
            decoded.append(Decoded(text, ids, score, score / (len(ids) + 1) ** power))
        return decoded
