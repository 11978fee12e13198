"""The model as the server uses it: what it can do, how audio is cut for it, and its answers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from espnet_part.decode.detect import Guess, candidates
from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Windowing
from espnet_part.decode.transcribe import fit_windows
from espnet_part.decode.word_times import Word, word_times
from espnet_part.errors import UserError
from espnet_part.tasks import ASR, S2TT

if TYPE_CHECKING:
    from espnet_part.data.collate import Row
    from espnet_part.decode.speech2text import Speech2Text


class Decoded(NamedTuple):
    """What was said in a window.

    Attributes:
        score: its log-probability, as `part_transcribe` writes it.
        average: the mean log-probability of its tokens, the end token among them.
        language: what is spoken, instead of the text, where that was asked for.
        words: of the window, where they were asked for.
    """

    text: str
    tokens: list[int]
    score: float
    average: float
    language: Guess | None = None
    words: tuple[Word, ...] = ()


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
            known = self._windowing.get(direction)
            if known is None:
                langs = () if direction.lang else candidates(self.trained_on, direction)
                known = fit_windows(self.model, direction, self._windows, langs)
                if not direction.context:  # of which there is no end
                    self._windowing[direction] = known
            return known

    def why_strange(self, direction: Direction) -> str | None:
        """What is to be said of what the model was not trained on; None for all else."""
        return self.model.why_strange(*direction.stratum)

    def decode(self, windows: Sequence[tuple[Direction, np.ndarray]]) -> list[Decoded]:
        """Decode (samples,) 16 kHz windows as one batch; of a direction without a language, say which
        is heard. Raises whatever one of them provokes."""
        found: dict[int, Decoded] = {}
        with self._lock:
            for number, (direction, samples) in enumerate(windows):
                if not direction.lang:
                    langs = candidates(self.trained_on, direction)
                    guess = self.model.detect_language(samples, langs)[0]
                    found[number] = Decoded("", [], 0.0, 0.0, guess)
            rest = [number for number in range(len(windows)) if number not in found]
            rows = [self._row(*windows[number]) for number in rest]
            decoded = self.model.decode_rows(rows)
        average = self.model.search.per_token
        for number, ((text, _, ids, score),) in zip(rest, decoded, strict=True):
            direction, samples = windows[number]
            words = word_times(self.model, samples, text) if direction.words else []
            found[number] = Decoded(
                text, ids, score, average(score, len(ids) + 1), words=tuple(words)
            )
        return [found[number] for number in range(len(windows))]

    def _row(self, direction: Direction, samples: np.ndarray) -> Row:
        return self.model.prepare(direction.example(), samples, direction.prompt, direction.context)
