"""Which parts of a stream of audio are silence, by energy, with a threshold that follows the noise.

A level counts as silence when it is near the quiet tenth of the minute around it; how near depends
on how much louder the loud parts are. So a hum, a fan or a low recording level needs no setting. At
the edges of speech a lower threshold holds, for words begin and end softly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from espnet_part.sample_rate import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50
"""Samples of a frame, 20 ms, whose level is measured."""

SILENT, SOFT, SOUND = range(3)
"""Kinds of frames; what is soft is silence, unless it is beside sound."""

_TICK = 50  # frames between two settings of the threshold
_HORIZON = 30  # ticks before and after, from which it is set
_LOWEST = -100  # dBFS: digital silence
_NOTHING = -70.0  # dBFS: below this nobody speaks, nor does it tell of the room's noise
_LOUD = -40.0  # dBFS: speech is expected to be at least this loud until louder is heard
_QUIET_SHARE, _LOUD_SHARE = 0.10, 0.95  # of the frames of the horizon
_CONTRAST = 6.0  # dB between quiet and loud; with less, nothing can be told from silence
_MARGIN, _EDGE_MARGIN = 12.0, 4.0  # dB above the quiet that may still be silence, at most


def classify_frames(
    blocks: Iterable[np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Tell sound from silence in a stream.

    Args:
        blocks: (samples,) float32 at 16 kHz; how the audio is cut into blocks changes nothing.

    Yields:
        Each second of the audio: its samples, the level of each frame in dBFS, and its kind; half a
        minute after it has come in.
    """
    waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
    counts: deque[np.ndarray] = deque()  # histograms of levels, of the ticks around
    loudest = _LOUD

    def decide() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal loudest
        histogram = np.sum(counts, axis=0)
        loudest = max(loudest, _quantile(histogram, _LOUD_SHARE, int(_NOTHING)))
        samples, levels = waiting.popleft()
        soft, sound = _thresholds(histogram, loudest)
        return samples, levels, (levels > soft).astype(np.int8) + (levels > sound)

    for samples in _ticks(blocks):
        levels = frame_levels(samples)
        waiting.append((samples, levels))
        bins = np.clip(np.floor(levels), _LOWEST, 0).astype(int) - _LOWEST
        counts.append(np.bincount(bins, minlength=1 - _LOWEST))
        if len(counts) > 2 * _HORIZON + 1:
            counts.popleft()
        if len(waiting) > _HORIZON:
            yield decide()
    while waiting:
        yield decide()
        if len(counts) > _HORIZON + 1:
            counts.popleft()


def _quantile(histogram: np.ndarray, share: float, lowest: int) -> float:
    """A quantile of the levels above ``lowest``, from a histogram of 1 dB bins."""
    cumulated = np.cumsum(histogram[lowest - _LOWEST :])
    if not cumulated[-1]:
        return float(lowest)
    return lowest + float(np.searchsorted(cumulated, share * cumulated[-1]))


def _thresholds(histogram: np.ndarray, loud: float) -> tuple[float, float]:
    """The levels above which sound is soft, and above which it is sound."""
    # a muted stretch is quieter than the room whose noise is between the words
    quiet = _quantile(histogram, _QUIET_SHARE, int(_NOTHING))
    contrast = loud - quiet
    if contrast < _CONTRAST:
        return _NOTHING, _NOTHING
    sound = max(_NOTHING, quiet + min(0.3 * contrast, _MARGIN))
    quiet = _quantile(histogram, _QUIET_SHARE, _LOWEST)
    return min(sound, max(_NOTHING, quiet + _EDGE_MARGIN)), sound


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """Level of each frame in dBFS, (ceil(samples / FRAME),); a constant offset does not count."""
    whole = len(samples) // FRAME * FRAME
    power = samples[:whole].reshape(-1, FRAME).astype(np.float64).var(axis=1)
    if whole < len(samples):
        power = np.append(power, samples[whole:].astype(np.float64).var())
    return 10.0 * np.log10(power + 10.0 ** (_LOWEST / 10))


def _ticks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup into pieces of _TICK frames; the last one may be shorter."""
    size = _TICK * FRAME
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // size * size
        for start in range(0, whole, size):
            yield rest[start : start + size]
        rest = rest[whole:]
    if len(rest):
        yield rest
