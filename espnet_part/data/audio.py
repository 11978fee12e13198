"""Reading audio: any format of soundfile and Kaldi arks, as 16 kHz mono float32."""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.data.datadir import Example
from espnet_part.data.mp3 import CutMp3, with_length

SAMPLE_RATE = 16000
#: Longer audio must come with a ``segments`` file; reading it whole would fill the memory.
MAX_SECONDS = 3600.0

_ARK = re.compile(r"(.+):(\d+)")
# libsndfile's note that a file's data are shorter than its header says: WAV, W64, AIFF, AU
_SHORT_DATA = re.compile(
    r"^ *(?:data|riff|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_STREAMED = 0x7FFFFF00  # a header written before the length was known
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
        audio: a path, ``path.ark:offset``, or an example with ``audio`` and ``segment``.
        segment: (start, end) in seconds; only that part is read.
        fs: sampling rate of the result in Hz; resampling is soxr's HQ.
        max_seconds: what would be longer is refused before it is read.

    Returns:
        (samples,) float32 in about [-1, 1]; several channels are averaged.

    Raises:
        BadAudio: missing, unreadable, empty, truncated, not a number, too long, or a command.
    """
    if isinstance(audio, Example):
        spec, segment = audio.audio or "", audio.segment
    else:
        spec = str(audio).strip()
    if not spec:
        raise BadAudio("no audio is named")
    if spec.startswith("|") or spec.endswith("|"):
        raise BadAudio("a command instead of a file; commands in wav.scp are not run")
    match = _ARK.fullmatch(spec)
    if match and not Path(spec).exists():
        samples, rate = _read_ark(Path(match[1]), int(match[2]), segment, max_seconds)
    else:
        samples, rate = _read_file(Path(spec), segment, max_seconds)
    return _finish(samples, rate, fs)


def audio_state(audio: str) -> str:
    """Size and time of change of an audio file, or of the ark that it is in.

    What was made from audio is stale when this differs.
    """
    for path in (audio, audio.rpartition(":")[0]):
        try:
            found = Path(path).stat()
        except OSError:
            continue
        return f"{found.st_size} {found.st_mtime_ns}"
    return "missing"


def read_matrix(spec: str) -> np.ndarray:
    """Read a float matrix, ``path.ark:offset``, as written by kaldiio.

    Returns:
        (rows, columns) float32.

    Raises:
        BadAudio: missing, damaged, or an entry of a kind that could run code when it is read.
    """
    from kaldiio.matio import read_kaldi

    match = _ARK.fullmatch(spec)
    if match is None:
        raise BadAudio(f"not of the form path.ark:offset: {spec}")
    with _open(Path(match[1])) as file:
        file.seek(int(match[2]))
        if file.read(2) != b"\0B":
            raise BadAudio(f"no binary Kaldi matrix at {spec}")
        file.seek(int(match[2]))
        try:
            matrix = np.array(read_kaldi(file), dtype=np.float32)  # a copy that can be written
        except Exception as error:  # kaldiio raises whatever its parts raise
            raise BadAudio(f"damaged matrix: {error}") from None
    if matrix.ndim != 2 or not matrix.size:
        raise BadAudio(f"not a matrix: shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise BadAudio("values that are not finite")
    return matrix


def _open(path: Path) -> io.BufferedReader:
    try:
        if path.exists() and not path.is_file():
            raise BadAudio("not a regular file")  # a named pipe would wait for ever
        return path.open("rb")
    except FileNotFoundError:
        raise BadAudio("missing file") from None
    except PermissionError:
        raise BadAudio("no permission to read the file") from None
    except OSError as error:
        raise BadAudio(f"unreadable file: {error.strerror or error}") from None


def _read_file(
    path: Path, segment: tuple[float, float] | None, max_seconds: float
) -> tuple[np.ndarray, int]:
    with open_sound(path) as sound:
        return _read_sound(sound, segment, max_seconds), sound.samplerate


@contextlib.contextmanager
def open_sound(path: Path) -> Iterator[Any]:
    """Open a file as a `soundfile.SoundFile`, with the checks that need no reading of it all.

    Raises:
        UnknownFormat: libsndfile does not know the format.
        BadAudio: missing, empty or truncated; also for what libsndfile raises inside the block.
    """
    import soundfile

    with _open(path) as file:
        size = file.seek(0, 2)
        if size == 0:
            raise BadAudio("empty file")
        if path.suffix.lower() in (".ogg", ".opus", ".oga") and _ends_inside_ogg_page(file, size):
            raise BadAudio("truncated: the file ends inside an Ogg page")
        try:
            mended = with_length(file)
        except CutMp3 as error:
            raise BadAudio(f"truncated: {error}") from None
        try:
            # bytes, for names that are no text
            sound = soundfile.SoundFile(os.fsencode(path) if mended is None else mended)
        except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
            raise UnknownFormat(f"not readable as audio: {_reason(error)}") from None
        with sound:
            if short := _SHORT_DATA.search(sound.extra_info):
                promised, present = int(short[1]), int(short[2])
                if present < promised < _STREAMED:
                    raise BadAudio(f"truncated: {present} of {promised} bytes")
            try:
                yield sound
            except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
                raise BadAudio(f"not readable as audio: {_reason(error)}") from None


def _read_sound(sound, segment: tuple[float, float] | None, max_seconds: float) -> np.ndarray:
    rate, frames = sound.samplerate, sound.frames
    if frames <= 0:
        raise BadAudio("no samples")
    start, stop = _bounds(segment, frames, rate)
    _check_length((stop - start) / rate, max_seconds)
    if start:
        sound.seek(start)
    samples = sound.read(stop - start, dtype="float32", always_2d=True)
    if len(samples) < stop - start:
        # libsndfile gives what is left of a truncated MP3 and no error
        raise BadAudio(f"truncated: {len(samples)} of {stop - start} samples")
    return samples


def _read_ark(
    path: Path, offset: int, segment: tuple[float, float] | None, max_seconds: float
) -> tuple[np.ndarray, int]:
    """Read an entry of an ark: a WAV file, or kaldiio's audio entry in any format.

    The entry is not left to kaldiio, which would unpickle one that says it is a pickle.
    """
    import soundfile

    with _open(path) as file:
        file.seek(offset)
        head = file.read(8)
        if head[:4] == b"RIFF" and len(head) == 8:
            size = struct.unpack("<I", head[4:])[0] + 8
            file.seek(offset)
        elif head[:5] == b"AUDIO" and len(head) == 8:
            file.seek(offset + 6)
            size = int.from_bytes(file.read(head[5]), "little")
        else:
            raise BadAudio(f"no audio at offset {offset} of the ark")
        content = file.read(size)
    if len(content) < size:
        raise BadAudio(f"truncated: {len(content)} of {size} bytes")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            return _read_sound(sound, segment, max_seconds), sound.samplerate
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        raise BadAudio(f"not readable as audio: {_reason(error)}") from None


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


def _finish(samples: np.ndarray, rate: int, fs: int) -> np.ndarray:
    import soxr

    if samples.ndim == 2:
        samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not len(samples):
        raise BadAudio("no samples")
    if not np.isfinite(samples).all():
        raise BadAudio("samples that are not finite numbers")
    if rate != fs:
        samples = soxr.resample(samples, rate, fs, quality="HQ")
        if not len(samples):
            raise BadAudio("no samples")
    return np.ascontiguousarray(samples, dtype=np.float32)


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
