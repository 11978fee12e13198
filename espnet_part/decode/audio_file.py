"""Any audio file as a stream of 16 kHz mono blocks, in constant memory.

libsndfile reads what it knows; everything else goes through the command `ffmpeg`, where there is
one.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from espnet_part.data.audio import NO_LENGTH, BadAudio, UnknownFormat, check_range, open_sound
from espnet_part.sample_rate import SAMPLE_RATE

BLOCK_SECONDS = 10.0

_KNOWN = (
    "wav wave flac mp3 ogg oga opus aiff aif aifc au snd caf w64 rf64 sph m4a m4b aac mp4 m4v mov "
    "mkv mka webm wma wmv amr 3gp ac3 avi mp2 mpg mpeg ape wv"
)
AUDIO_SUFFIXES = frozenset(f".{name}" for name in _KNOWN.split())
"""What is taken for audio, or for video with sound, in a directory."""

# what ffmpeg may take a file for: containers of sound, and nothing that names other files
_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,rm,tta,w64,wav,wv,xwma"
)
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_MOST_VALUES = 2**22  # read at once, whatever a header says of rate and channels
_TOLERANCE = 0.1  # seconds by which a header may promise more than there is
_CUT_OFF = ("File ended prematurely", "partial file")  # ffmpeg's words for it
_INSTALL = (
    "install ffmpeg (https://ffmpeg.org), which reads m4a, mp4, webm, wma and most others, or "
    "convert the file to wav, flac, mp3 or ogg"
)


def find_audio(paths: list[Path]) -> tuple[list[tuple[Path, Path]], list[tuple[Path, str]]]:
    """The audio files named by a user.

    Args:
        paths: files, and directories that are searched through for `AUDIO_SUFFIXES`. A file is
            taken whatever its suffix; in a directory, names that begin with a dot are not.

    Returns:
        (file, the file relative to what named it) without repetition, those of a directory in
        sorted order; and (path, reason) of what is missing or holds no audio.
    """
    found: dict[Path, Path] = {}
    bad: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            files, unreadable = _search(path)
            for file in files:
                found.setdefault(file, file.relative_to(path))
            bad += unreadable
            if not files and not unreadable:
                bad.append((path, "no audio file in this directory"))
        elif path.exists():
            found.setdefault(path, Path(path.name))
        else:
            bad.append((path, "no such file or directory"))
    return list(found.items()), bad


def _search(root: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    files: list[Path] = []
    bad: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        bad.append((Path(error.filename), f"cannot be searched: {error.strerror}"))

    for directory, inner, names in os.walk(root, onerror=note):
        inner[:] = [name for name in inner if not name.startswith(".")]
        paths = [Path(directory, name) for name in names if not name.startswith(".")]
        files += [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]
    return sorted(files), bad


def probe_duration(path: Path) -> float | None:
    """What the file's header says it lasts, in seconds; None where it does not say.

    Raises:
        BadAudio: what can be seen without decoding: missing, empty, no audio, a cut-off wav.
    """
    try:
        with open_sound(path) as sound:
            if sound.frames == 0:
                raise BadAudio("no samples")
            return sound.frames / sound.samplerate if sound.frames < NO_LENGTH else None
    except UnknownFormat as error:
        ffmpeg = _find_ffmpeg(error)
    done = subprocess.run(
        [ffmpeg, *_input_options(path)], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    said = done.stderr.decode(errors="replace")
    if "Audio:" not in said:  # ffmpeg always fails here, for it is given nothing to write
        raise BadAudio(f"not readable as audio: {_complaint(said, path)}")
    return _stated_duration(said)


def read_blocks(path: Path, seconds: float = BLOCK_SECONDS) -> Iterator[np.ndarray]:
    """Read a file of any format, rate and number of channels piece by piece.

    Args:
        path: the file.
        seconds: about the length of a block; what the blocks hold does not depend on it.

    Yields:
        (samples,) float32 at 16 kHz; several channels are averaged. Together the file's audio.

    Raises:
        BadAudio: missing, unreadable, empty, or truncated, which may show at the very end; no
            ffmpeg where one is needed.
    """
    try:
        yield from _read_sound(path, seconds)
    except UnknownFormat as error:
        yield from _read_ffmpeg(path, _find_ffmpeg(error), seconds)


def _read_sound(path: Path, seconds: float) -> Iterator[np.ndarray]:
    import soxr

    with open_sound(path) as sound:
        rate, frames = sound.samplerate, sound.frames
        # soundfile seeks after every reading of what is seekable, and an MP3 decoder, which needs
        # the frames before, then starts anew with a gap
        sound.seekable = lambda: False
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        length = max(1, min(round(seconds * rate), _MOST_VALUES // sound.channels))
        read = written = 0
        while True:
            block = sound.read(length, dtype="float32", always_2d=True)
            read += len(block)
            check_range(block)
            samples = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
            last = len(block) < length
            if rate != SAMPLE_RATE:
                samples = resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
            written += len(samples)
            if len(samples):
                yield samples
            if last:
                break
        if read + _TOLERANCE * rate < frames < NO_LENGTH:
            # libsndfile gives what is left of a truncated MP3 and no error
            raise BadAudio(f"truncated: {read / rate:.1f} of {frames / rate:.1f} s")
        if not written:
            raise BadAudio("no samples")


def _find_ffmpeg(error: UnknownFormat) -> str:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise BadAudio(f"{error}; {_INSTALL}") from None
    return ffmpeg


def _input_options(path: Path) -> list[str]:
    # `file:` for names that look like an option or an address; a playlist would open other files
    options = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info"]
    only = ["-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS]
    return [*options, *only, "-i", f"file:{path}"]


def _read_ffmpeg(path: Path, ffmpeg: str, seconds: float) -> Iterator[np.ndarray]:
    form = ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-"]
    length = 4 * max(1, round(seconds * SAMPLE_RATE))
    written = 0
    # what ffmpeg says goes to a file: a pipe that nobody reads would fill up and stop it
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [ffmpeg, *_input_options(path), *form],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            # a buffered read gives whole blocks, up to the end
            while content := process.stdout.read(length):
                samples = np.frombuffer(content[: len(content) // 4 * 4], dtype="<f4")
                check_range(samples)
                written += len(samples)
                yield samples.astype(np.float32, copy=False)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        log.seek(0)
        said = log.read().decode(errors="replace")
    if status:
        raise BadAudio(f"not readable as audio: {_complaint(said, path)}")
    if not written:
        raise BadAudio("no samples")
    _check_end(said, written / SAMPLE_RATE, path)


def _check_end(said: str, decoded: float, path: Path) -> None:
    """ffmpeg decodes what is left of a truncated file and exits as if nothing were wrong.

    The length alone proves nothing: a video's sound may end before its pictures do, and some
    formats' length is an estimate.
    """
    if "[error]" not in said:
        return
    stated = _stated_duration(said) or 0.0
    if any(words in said for words in _CUT_OFF) or decoded < stated - max(1.0, 0.01 * stated):
        raise BadAudio(f"truncated: {decoded:.1f} s, {stated:.1f} s by its header")
    logging.warning("%s: damaged, but read to its end: %s", path, _complaint(said, path))


def _stated_duration(said: str) -> float | None:
    match = _DURATION.search(said)
    if match is None:
        return None
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def _complaint(said: str, path: Path) -> str:
    """ffmpeg's first error, without the file's name."""
    for line in said.splitlines():
        if "[error]" in line or "[fatal]" in line:
            text = re.sub(r"\[[^\]]*\] ?", "", line).replace(f"file:{path}: ", "").strip()
            text = text.removeprefix("Error opening input: ").replace(f" '{_DEMUXERS}'", "")
            return f"ffmpeg: {text}"
    return "ffmpeg finds no audio in it"
