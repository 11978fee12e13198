"""Long audio cut into windows that a model can take, at silences, in constant memory.

No window is longer than the limit: where speech runs on without a pause, it is cut at its longest
gap, or at its quietest point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pydantic
from pydantic.dataclasses import dataclass

from espnet_part.decode.silence import FRAME, SILENT, SOUND, classify_frames
from espnet_part.sample_rate import SAMPLE_RATE

_EDGE = 10  # frames by which soft sound beside a piece lengthens it, at most
_CLICK = 5  # frames; a shorter sound between silences is no speech
_GAP = 5  # frames of a gap at which running speech is cut rather than at a quiet point


@dataclass(
    frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
)
class Windowing:
    """How long audio is cut; all in seconds.

    Attributes:
        max_window: no window is longer.
        min_window: a shorter piece is joined to its neighbour, when that is near and the limit
            allows; never more than a third of ``max_window``.
        min_silence: a pause of this length ends a window.
        max_gap: pieces farther apart are never joined.
        pad: what a window holds of the silence before and behind it.
    """

    max_window: float = 30.0
    min_window: float = 1.0
    min_silence: float = 0.5
    max_gap: float = 1.5
    pad: float = 0.04

    def __post_init__(self) -> None:
        if self.max_window < max(2.0, 8 * self.pad):
            raise ValueError(
                f"`max_window` must be at least 2 s and 8 times `pad` (got {self.max_window})"
            )
        if self.min_window < 0.0:
            raise ValueError(f"`min_window` must not be negative (got {self.min_window})")
        if self.min_silence < 0.1:
            raise ValueError(f"`min_silence` must be at least 0.1 s (got {self.min_silence})")
        if not 0.0 <= self.pad <= self.min_silence / 2:
            raise ValueError(f"`pad` must be from 0 to half of `min_silence` (got {self.pad})")
        if self.max_gap < 0.0:
            raise ValueError(f"`max_gap` must not be negative (got {self.max_gap})")


class Window(NamedTuple):
    """A piece of audio.

    Attributes:
        start, end: seconds from the beginning of the audio.
        samples: (samples,) float32 at 16 kHz, all from ``start`` to ``end``.
    """

    start: float
    end: float
    samples: np.ndarray


def cut_windows(blocks: Iterable[np.ndarray], windowing: Windowing) -> Iterator[Window]:
    """Cut a stream of audio into windows.

    Args:
        blocks: (samples,) float32 at 16 kHz; how the audio is cut into blocks changes nothing.
        windowing: the limits.

    Yields:
        Windows in order, without overlap, that hold everything but silences and clicks. About a
        minute and a window's length of audio is held in memory.
    """
    cutter = _Cutter(windowing)
    for samples, levels, kinds in classify_frames(blocks):
        yield from cutter.push(samples, levels, kinds)
    yield from cutter.finish()


class _Piece(NamedTuple):
    """Sound from frame ``start`` to before ``end``; a side that was cut has no silence beside."""

    start: int
    end: int
    cut_before: bool = False
    cut_behind: bool = False


class _Cutter:
    """Joins sound frames to pieces, and pieces to windows; holds only the audio still needed."""

    def __init__(self, windowing: Windowing):
        self.min_silence = _frames(windowing.min_silence)
        self.pad = min(_frames(windowing.pad), self.min_silence // 2)  # so none overlap
        self.edge = min(_EDGE, self.min_silence // 2 - self.pad)
        beside = 2 * (self.pad + self.edge)
        self.longest = int(windowing.max_window * SAMPLE_RATE) // FRAME - beside
        self.shortest = _frames(min(windowing.min_window, windowing.max_window / 3))
        self.max_gap = max(_frames(windowing.max_gap), self.min_silence)
        self.audio = _Tail()
        self.frame = 0  # the next one
        self.start: int | None = None  # of the piece that is heard at present
        self.end = 0  # behind its last sound
        self.cut_before = False
        self.held: _Piece | None = None  # it may be joined with the next one

    def push(self, samples: np.ndarray, levels: np.ndarray, kinds: np.ndarray) -> Iterator[Window]:
        self.audio.append(samples, levels, kinds)
        for is_sound in (kinds == SOUND).tolist():
            if is_sound:
                if self.start is None:
                    self.start = self.frame
                elif self.frame + 1 - self.start > self.longest:
                    yield from self._cut(self.start)
                self.end = self.frame + 1
            elif self.start is not None and self.frame + 1 - self.end >= self.min_silence:
                yield from self._close()
            self.frame += 1
        if self.start is None and self.held and self.frame - self.held.end > self.max_gap:
            yield from self._release()
        needed = self.held.start if self.held else self.frame if self.start is None else self.start
        self.audio.forget(needed - self.min_silence)

    def finish(self) -> Iterator[Window]:
        if self.start is not None:
            yield from self._close()
        yield from self._release()

    def _close(self) -> Iterator[Window]:
        """The piece that is heard is over."""
        assert self.start is not None
        piece = _Piece(self.start, self.end, self.cut_before)
        self.start, self.cut_before = None, False
        if piece.cut_before or piece.end - piece.start >= _CLICK:
            yield from self._join(piece)

    def _cut(self, start: int) -> Iterator[Window]:
        """Cut the piece that is heard, which is too long with the present frame."""
        earliest = start + self.longest // 2
        latest = max(earliest + 1, start + self.longest - self.shortest)
        levels, kinds = self.audio.frames(earliest, latest)
        at = earliest + _best_cut(levels, kinds == SOUND)
        yield from self._join(_Piece(start, at, self.cut_before, True))
        self.start, self.cut_before = at, True

    def _join(self, piece: _Piece) -> Iterator[Window]:
        held = self.held
        if held is not None:
            short = min(held.end - held.start, piece.end - piece.start) < self.shortest
            near = piece.start - held.end <= self.max_gap
            if short and near and piece.end - held.start <= self.longest:
                piece = _Piece(held.start, piece.end, held.cut_before, piece.cut_behind)
            else:
                yield from self._release()
        self.held = piece

    def _release(self) -> Iterator[Window]:
        if self.held is not None:
            piece, self.held = self.held, None
            start, end = piece.start, piece.end
            if not piece.cut_before:
                _, kinds = self.audio.frames(max(0, start - self.edge), start)
                start = max(0, start - _leading_soft(kinds[::-1]) - self.pad)
            if not piece.cut_behind:
                _, kinds = self.audio.frames(end, end + self.edge)
                end += _leading_soft(kinds) + self.pad
            first, samples = self.audio.samples(start, end)
            yield Window(first / SAMPLE_RATE, (first + len(samples)) / SAMPLE_RATE, samples)


class _Tail:
    """The latest part of a stream, addressed by frames from the stream's beginning."""

    def __init__(self) -> None:
        self.ticks: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque()
        self.first = 0  # the frame with which the tail begins

    def append(self, samples: np.ndarray, levels: np.ndarray, kinds: np.ndarray) -> None:
        self.ticks.append((samples, levels, kinds))

    def forget(self, frame: int) -> None:
        """Drop whole ticks before a frame."""
        while self.ticks and self.first + len(self.ticks[0][1]) <= frame:
            self.first += len(self.ticks.popleft()[1])

    def frames(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Levels and kinds of frames, as far as there are any."""
        chosen = slice(start - self.first, end - self.first)
        levels, kinds = (np.concatenate([tick[n] for tick in self.ticks]) for n in (1, 2))
        return levels[chosen], kinds[chosen]

    def samples(self, start: int, end: int) -> tuple[int, np.ndarray]:
        """Number of the first sample, and the samples, as far as there are any."""
        offset = self.first * FRAME
        whole = np.concatenate([tick[0] for tick in self.ticks])
        return start * FRAME, whole[start * FRAME - offset : end * FRAME - offset].copy()


def _leading_soft(kinds: np.ndarray) -> int:
    """How many frames there are before the first silent one."""
    return int(np.argmin(np.append(kinds, SILENT) != SILENT))


def _best_cut(levels: np.ndarray, sound: np.ndarray) -> int:
    """The frame at which to cut: in the longest gap's middle, or the quietest point."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], sound, [True]]).astype(int)))
    gaps = edges.reshape(-1, 2)
    lengths = gaps[:, 1] - gaps[:, 0]
    if len(lengths) and lengths.max() >= _GAP:
        start, end = gaps[len(lengths) - 1 - int(np.argmax(lengths[::-1]))]
        return int(start + end) // 2
    width = min(2 * _GAP, len(levels))
    around = np.convolve(10.0 ** (levels / 10), np.ones(width), mode="valid")
    return int(np.argmin(around)) + width // 2


def _frames(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE) // FRAME
