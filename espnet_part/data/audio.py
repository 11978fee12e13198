"""Reading audio: any format of soundfile, wherever it is kept, as 16 kHz mono float32."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.data.datadir import Example
from espnet_part.data.headers import means_unknown, with_known_length
from espnet_part.data.mp3 import CutMp3, with_length
from espnet_part.data.sources import find_source
from espnet_part.data.sources.ark import open_entry
from espnet_part.inputs import bad_input, reason
from espnet_part.sample_rate import SAMPLE_RATE

#: Longer audio must come with a ``segments`` file; reading it whole would fill the memory.
MAX_SECONDS = 3600.0

# libsndfile's note that a file's data are shorter than its header says: WAV, W64, AIFF, AU
_SHORT_DATA = re.compile(
    r"^ *(?:data|riff|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
NO_LENGTH = 2**62
"""From here on libsndfile's count of frames says that it does not know."""
LOUDEST = 10.0
"""Full scale is 1, and a mix may overshoot. What is beyond this are integers written as floats."""
_CLIPPED = 0.001  # share of samples beyond full scale that is worth a word
_END_TOLERANCE = 0.05  # seconds that a segment may reach beyond the audio


class BadAudio(Exception):
    """Audio that cannot be used; the message is the reason."""


class UnknownFormat(BadAudio):
    """Content that libsndfile cannot open; another decoder may."""


def read_audio(
    audio: str | Path | Example,
    segment: tuple[float, float] | None = None,
    fs: int = SAMPLE_RATE,
    max_seconds: float = MAX_SECONDS,
) -> np.ndarray:
    """Read audio as one channel at ``fs``.

    Args:
        audio: an entry of ``wav.scp`` (see `espnet_part.data.sources`), or an example with ``audio`` and
            ``segment``.
        segment: (start, end) in seconds; only that part is read.
        fs: sampling rate of the result in Hz; resampling is soxr's HQ.
        max_seconds: what would be longer is refused before it is read.

    Returns:
        (samples,) float32 in about [-1, 1]; several channels are averaged.

    Raises:
        BadAudio: missing, unreadable, empty, truncated, not a number, too long, or a command.
    """
    return read_with_remarks(audio, segment, fs, max_seconds, remark=False)[0]


def read_with_remarks(
    audio: str | Path | Example,
    segment: tuple[float, float] | None = None,
    fs: int = SAMPLE_RATE,
    max_seconds: float = MAX_SECONDS,
    remark: bool = True,
) -> tuple[np.ndarray, list[str]]:
    """Read audio as `read_audio` does, and say what is odd about it.

    Returns:
        The samples, and remarks such as "silence": what can be used, but hardly is what was meant.
    """
    if isinstance(audio, Example):
        spec, segment = audio.audio or "", audio.segment
    else:
        spec = str(audio).strip()
    if not spec:
        raise BadAudio("no audio is named")
    if spec.startswith("|") or spec.endswith("|"):
        raise BadAudio("a command instead of a file; commands in wav.scp are not run")
    with bad_input(BadAudio):
        with open_sound(spec) as sound:
            samples, rate = _read_sound(sound, segment, max_seconds), sound.samplerate
        check_range(samples)
        return _finish(samples, rate, fs, remark)


def check_range(samples: np.ndarray) -> None:
    """Refuse samples of any shape that are not finite, or far beyond full scale.

    Raises:
        BadAudio: says which.
    """
    if not samples.size:
        return
    low, high = float(samples.min()), float(samples.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadAudio("samples that are not finite numbers")
    if max(-low, high) > LOUDEST:
        raise BadAudio(
            f"samples up to {max(-low, high):.0f} where full scale is 1, such as 16-bit values written "
            "as floats; divide them by 32768 (sox -v 0.000030517578125 IN.wav -b 16 OUT.wav)"
        )


def read_matrix(spec: str) -> np.ndarray:
    """Read a float matrix, ``path.ark:offset``, as written by kaldiio.

    Returns:
        (rows, columns) float32.

    Raises:
        BadAudio: missing, damaged, or an entry of a kind that could run code when it is read.
    """
    from kaldiio.matio import read_kaldi

    with bad_input(BadAudio), open_entry(spec) as (file, _):
        start = file.tell()
        if file.read(2) != b"\0B":
            raise BadAudio(f"no binary Kaldi matrix at {spec}")
        file.seek(start)
        try:
            matrix = np.array(read_kaldi(file), dtype=np.float32)  # a copy that can be written
        except OSError:
            raise
        except Exception as error:  # kaldiio raises whatever its parts raise
            raise BadAudio(f"damaged matrix: {error}") from None
        if matrix.ndim != 2 or not matrix.size:
            raise BadAudio(f"not a matrix: shape {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise BadAudio("values that are not finite")
        return matrix


@contextlib.contextmanager
def open_sound(audio: str | Path) -> Iterator[Any]:
    """Open audio as a `soundfile.SoundFile`, with the checks that need no reading of it all.

    Args:
        audio: an entry of ``wav.scp``.

    Raises:
        UnknownFormat: libsndfile does not know the format.
        BadAudio: missing, empty or truncated; also for what libsndfile raises inside the block.
    """
    import soundfile

    spec = str(audio)
    with bad_input(BadAudio), find_source(spec).open(spec) as content:
        file: Any = content.file
        size = file.seek(0, io.SEEK_END)
        if size == 0:
            raise BadAudio("empty file")
        file.seek(0)
        if file.read(4) == b"OggS" and _ends_inside_ogg_page(file, size):
            raise BadAudio("truncated: the file ends inside an Ogg page")
        if spec.lower().endswith(".raw"):
            raise UnknownFormat(
                "raw samples without a header, which would say their rate and size; convert the file to "
                "wav or flac (sox -r 16000 -e signed -b 16 -c 1 IN.raw OUT.wav)"
            )
        try:
            mended = with_known_length(file) or with_length(file)
        except CutMp3 as error:
            raise BadAudio(f"truncated: {error}") from None
        if mended is None and content.path is not None:
            opened: Any = os.fsencode(content.path)  # bytes, for names that are no text
        else:
            opened = _Kept(mended or file)
            opened.seek(0)
        try:
            sound = soundfile.SoundFile(opened)
        except OSError:
            raise
        except Exception as error:
            _check_kept(opened)
            raise UnknownFormat(f"not readable as audio: {_reason(error)}") from None
        with sound:
            if short := _SHORT_DATA.search(sound.extra_info):
                promised, present = int(short[1]), int(short[2])
                if present < promised and not means_unknown(promised):
                    raise BadAudio(f"truncated: {present} of {promised} bytes")
            try:
                yield sound
            except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
                _check_kept(opened)
                raise BadAudio(f"not readable as audio: {_reason(error)}") from None
            except BadAudio:  # too few samples, since no more could be read
                _check_kept(opened)
                raise


class _Kept(io.RawIOBase):
    """A file for libsndfile, from whose calls no error comes through: it is kept for `_check_kept`."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: Exception | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self.file.readinto(buffer))
        except Exception as error:
            self.error = error
            return 0


def _check_kept(opened: Any) -> None:
    if isinstance(opened, _Kept) and opened.error is not None:
        raise BadAudio(reason(opened.error))


def _read_sound(sound: Any, segment: tuple[float, float] | None, max_seconds: float) -> np.ndarray:
    rate, frames = sound.samplerate, sound.frames
    if frames <= 0:
        raise BadAudio("no samples")
    if frames >= NO_LENGTH:
        return _read_to_the_end(sound, segment, max_seconds)
    start, stop = _bounds(segment, frames, rate)
    _check_length((stop - start) / rate, max_seconds)
    if start:
        sound.seek(start)
    samples = sound.read(stop - start, dtype="float32", always_2d=True)
    if len(samples) < stop - start:
        # libsndfile gives what is left of a truncated MP3 and no error
        raise BadAudio(f"truncated: {len(samples)} of {stop - start} samples")
    return samples


def _read_to_the_end(
    sound: Any, segment: tuple[float, float] | None, max_seconds: float
) -> np.ndarray:
    """Read what does not say its length, such as FLAC from a pipe."""
    rate = sound.samplerate
    sound.seekable = lambda: False  # soundfile would seek after each block
    first = 0 if segment is None else round(segment[0] * rate)
    last = None if segment is None else round(segment[1] * rate)
    blocks: list[np.ndarray] = []
    read = kept = 0
    while last is None or read < last:
        block = sound.read(1 << 16, dtype="float32", always_2d=True)
        if not len(block):
            break
        part = block[max(0, first - read) : None if last is None else last - read]
        read += len(block)
        kept += len(part)
        blocks.append(part)
        _check_length(kept / rate, max_seconds)
    if not read:
        raise BadAudio("no samples")
    _bounds(segment, read if last is None or read < last else last, rate)
    return np.concatenate(blocks)


def _bounds(segment: tuple[float, float] | None, frames: int, rate: int) -> tuple[int, int]:
    """The segment in frames; an end just beyond the audio is moved to its end."""
    if segment is None:
        return 0, frames
    start, stop = round(segment[0] * rate), round(segment[1] * rate)
    if start >= frames or stop > frames + _END_TOLERANCE * rate:
        raise BadAudio(f"the segment ends at {segment[1]} s, the audio at {frames / rate:.2f} s")
    return start, min(stop, frames)


def _check_length(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise BadAudio(
            f"too long: {seconds:.0f} s, at most {max_seconds:.0f} s; cut it with a segments file"
        )


def _finish(samples: np.ndarray, rate: int, fs: int, remark: bool) -> tuple[np.ndarray, list[str]]:
    import soxr

    remarks = []
    if samples.ndim == 2:
        channels = samples
        samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
        if remark and channels.shape[1] > 1 and _cancels(channels, samples):
            remarks.append(
                f"its {channels.shape[1]} channels cancel each other (opposite phase), so that their "
                "average is next to silence; keep one of them"
            )
    if not len(samples):
        raise BadAudio("no samples")
    if rate != fs:
        samples = soxr.resample(samples, rate, fs, quality="HQ")
        if not len(samples):
            raise BadAudio("no samples")
    if remark and not remarks:
        remarks = _remarks(samples)
    return np.ascontiguousarray(samples, dtype=np.float32), remarks


def _cancels(channels: np.ndarray, mean: np.ndarray) -> bool:
    loudest = float(np.sqrt(np.mean(np.square(channels), axis=0)).max())
    return loudest > 1e-3 and float(np.sqrt(np.mean(np.square(mean)))) < 0.01 * loudest


def _remarks(samples: np.ndarray) -> list[str]:
    low, high = float(samples.min()), float(samples.max())
    if low == high == 0.0:
        return ["digital silence"]
    if high - low < 1e-4:
        return ["no sound but a constant (a recording without a microphone?)"]
    clipped = float(np.mean(np.abs(samples) > 1.0))
    if clipped > _CLIPPED:
        return [f"{clipped:.1%} of the samples are beyond full scale, and cut off there"]
    return []


def _ends_inside_ogg_page(file: io.BufferedReader, size: int) -> bool:
    """Whether the last Ogg page is cut off (RFC 3533, section 6: 27 bytes + segment table)."""
    file.seek(max(0, size - 66000))  # a page is at most 65307 bytes long
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    if at < 0:
        return False
    header = tail[at : at + 27]
    if len(header) < 27:
        return True
    table = tail[at + 27 : at + 27 + header[26]]
    return len(table) < header[26] or len(tail) - at < 27 + header[26] + sum(table)


def _reason(error: BaseException) -> str:
    """The cause without the path that libsndfile puts before it."""
    text = str(getattr(error, "error_string", "") or error).strip()
    if "does not exist" in text:  # what libsndfile says of a file whose beginning it cannot read
        return "no format that libsndfile knows, or a damaged beginning"
    return text or type(error).__name__
