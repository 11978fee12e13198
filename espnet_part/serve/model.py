"""The model as the server uses it: what it can do, how audio is cut for it, and its answers."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from espnet_part.decode.detect import Guess, candidates
from espnet_part.decode.direction import Direction
from espnet_part.decode.halving import reason_of
from espnet_part.decode.longform import Windowing
from espnet_part.decode.transcribe import fit_windows
from espnet_part.decode.word_times import Word, word_times
from espnet_part.errors import UserError
from espnet_part.tasks import ASR, S2TT

if TYPE_CHECKING:
    from espnet_part.data.collate import Row
    from espnet_part.decode.speech2text import Hypothesis, Speech2Text

Window = TypeVar("Window")


class Decoded(NamedTuple):
    """What was said in a window.

    Attributes:
        score: its log-probability, as `part_transcribe` writes it.
        average: the mean log-probability of its tokens, the end token among them.
        languages: those that may be spoken, instead of the text, where that was asked for.
        words: of the window, where they were asked for.
    """

    text: str
    tokens: list[int]
    score: float
    average: float
    languages: Sequence[Guess] = ()
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

    def detect(self, direction: Direction, samples: np.ndarray) -> Decoded:
        """Which language is spoken in (samples,) at 16 kHz, of those that the direction leaves open.

        Raises:
            ConfigError, DataError: as `Speech2Text.detect_language`.
        """
        with self._lock:
            langs = candidates(self.trained_on, direction)
            return Decoded("", [], 0.0, 0.0, self.model.detect_language(samples, langs))

    def decode_stream(
        self, windows: Iterable[tuple[Direction, np.ndarray] | None]
    ) -> Iterator[tuple[int, Decoded | None, str]]:
        """Decode windows as they come.

        Args:
            windows: (samples,) at 16 kHz. The next one is asked for when there is room; None says that
                there is none at present, so that what is being decoded goes on.

        Yields:
            The number of a window (from 0; None does not count), what was said in it, or None and why
            that is not known. Short ones overtake long ones.
        """
        given: dict[int, tuple[int, Direction, np.ndarray]] = {}
        numbers = itertools.count()

        def rows() -> Iterator[Row | None]:
            for window in self._unlocked(windows):
                if window is None:
                    yield None
                    continue
                direction, samples = window
                row = self.model.prepare(
                    direction.example(), samples, direction.prompt, direction.context
                )
                given[id(row)] = next(numbers), direction, samples
                yield row

        stream = self.model.decode_stream(rows())
        while True:
            with self._lock:
                done = next(stream, None)
                if done is None:
                    return
                number, direction, samples = given.pop(id(done.row))
                decoded, reason = None, done.reason
                if done.hypotheses:
                    try:
                        decoded = self._decoded(done.hypotheses[0], direction, samples)
                    except Exception as error:  # of one window, with which others are decoded
                        reason = reason_of(error)
            yield number, decoded, reason

    def _unlocked(self, windows: Iterable[Window]) -> Iterator[Window]:
        """The windows; while the next one is waited for, others may use the model."""
        coming = iter(windows)
        while True:
            self._lock.release()
            try:
                window = next(coming)
            except StopIteration:
                return
            finally:
                self._lock.acquire()
            yield window

    def _decoded(self, best: Hypothesis, direction: Direction, samples: np.ndarray) -> Decoded:
        average = self.model.search.per_token(best.score, len(best.token_int) + 1)
        words = word_times(self.model, samples, best.text) if direction.words else []
        return Decoded(best.text, best.token_int, best.score, average, words=tuple(words))
