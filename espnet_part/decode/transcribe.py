"""Files of any length to text: read, cut into windows, decoded in batches over all files."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from espnet_part.config import build
from espnet_part.data.audio import BadAudio
from espnet_part.decode.audio_file import probe_duration, read_blocks
from espnet_part.decode.detect import Guess, take_opening, together
from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Window, Windowing, cut_windows
from espnet_part.decode.time_left import Progress
from espnet_part.decode.word_times import Word, word_times
from espnet_part.errors import ConfigError, DataError
from espnet_part.progress import clock
from espnet_part.sample_rate import SAMPLE_RATE

if TYPE_CHECKING:
    from espnet_part.data.collate import Row
    from espnet_part.decode.speech2text import Hypothesis, Speech2Text

_BATCHES = 2  # of the longest windows, read at once and sorted by length
_HOPELESS = 20  # so many failures at the start mean that the model or the device is broken


class AudioFile(NamedTuple):
    """A file to be transcribed.

    Attributes:
        path: where it is.
        name: its path from the directory that was searched, or its name.
        seconds: what its header says it lasts; None where that says nothing.
    """

    path: Path
    name: Path
    seconds: float | None


class Line(NamedTuple):
    """What was said in a window: seconds from the beginning, text, its log-probability, and its words
    where they were asked for."""

    start: float
    end: float
    text: str
    score: float
    words: tuple[Word, ...] = ()


@dataclasses.dataclass
class Transcript:
    """A file's text.

    Attributes:
        file: the file.
        seconds: how long its audio is.
        language: what is spoken, where that was detected.
        lines: its windows in order, without overlap; between them is silence.
        decode_seconds: the time that the model took.
        error: why the file could not be transcribed; then its lines do not count.
    """

    file: AudioFile
    seconds: float = 0.0
    lines: list[Line] = dataclasses.field(default_factory=list)
    decode_seconds: float = 0.0
    error: str | None = None
    language: Guess | None = None

    def silences(self) -> list[tuple[float, float]]:
        """What was skipped: everything between the lines, from the beginning to the end."""
        edges = [0.0, *(edge for line in self.lines for edge in (line.start, line.end))]
        edges.append(self.seconds)
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return [(start, end) for start, end in pairs if end > start]


def probe_files(
    files: Sequence[tuple[Path, Path]],
) -> tuple[list[AudioFile], list[tuple[Path, str]]]:
    """Open every file before a model is loaded: those that can be read so far, and the others.

    Args:
        files: (path, name) as `find_audio` gives them.

    Returns:
        The readable files, and (path, reason) of the others.
    """
    good, bad = [], []
    with ThreadPoolExecutor(4) as pool:
        for (path, name), seconds in zip(files, pool.map(_probe, files), strict=True):
            if isinstance(seconds, Exception):
                bad.append((path, str(seconds)))
            else:
                good.append(AudioFile(path, name, seconds))
    return good, bad


def _probe(file: tuple[Path, Path]) -> float | BadAudio | OSError | None:
    try:
        return probe_duration(file[0])
    except (BadAudio, OSError) as error:
        return error


def longest_window(model: Speech2Text, direction: Direction) -> float:
    """Seconds of speech of which the longest answer still fits into the LLM's context.

    Raises:
        ConfigError: the model's prompts do not know the task.
        DataError: the context is too small for two seconds, the least of a window.
    """
    silence = np.zeros(SAMPLE_RATE)
    row = model.prepare(direction.example(), silence, direction.prompt, direction.context)

    def fits(seconds: int) -> bool:
        speech = np.broadcast_to(np.float32(0), seconds * SAMPLE_RATE)
        try:
            limit = model.limit(dataclasses.replace(row, speech=speech))
        except DataError:
            return False
        return limit >= model.search.limit_speech(seconds)

    low, high = 0, 3600
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    if low < 2:
        prompt = len(row.tokens.prefix_ids) + len(row.tokens.suffix_ids)
        raise DataError(
            f"the LLM's context is too small for a prompt of {prompt} tokens, 2 s of speech and the "
            "answer" + ("; shorten the context that you give" if direction.context else "")
        )
    return float(low)


def fit_windows(
    model: Speech2Text,
    direction: Direction,
    windows: dict[str, float],
    langs: Sequence[str] = (),
) -> Windowing:
    """Windows that the model can take.

    Args:
        direction: what is asked for.
        windows: of `Windowing` by name; without ``max_window`` it is 30 s or what fits.
        langs: those that may be heard, where the language is to be detected.

    Raises:
        ConfigError: ``max_window`` is longer than what fits; as `longest_window`.
        DataError: as `longest_window`.
    """
    heard = [direction.hearing(lang) for lang in langs] or [direction]
    room = min(longest_window(model, each) for each in heard)
    limit = windows.get("max_window")
    if limit is None:
        limit = min(Windowing().max_window, room)
    elif limit > room:
        raise ConfigError(
            f"--max_window {limit:g}: the LLM's context holds {room:g} s of speech and its answer"
        )
    return build(Windowing, {**windows, "max_window": limit}, "windows")


def transcribe(
    files: Sequence[AudioFile],
    model: Speech2Text,
    direction: Direction,
    windowing: Windowing,
    langs: Sequence[str] = (),
) -> Iterator[Transcript]:
    """Transcribe or translate files; memory does not grow with their length.

    Args:
        files: what to read.
        model: decodes.
        direction: what is asked for; its task reads speech alone.
        windowing: how long audio is cut.
        langs: those among which the language of each file is detected, from its first speech, where
            the direction has none.

    Yields:
        One transcript a file, in order, as soon as the file is done. What is wrong with one file
        does not end the others.

    Raises:
        DataError: no window at all can be decoded.
    """
    progress = Progress(sum(f.seconds or 0.0 for f in files), len(files), "transcribing", "files")
    transcripts = [Transcript(file) for file in files]
    size = _BATCHES * model.at_once(windowing.max_window) * windowing.max_window
    pools = _pools(_read(transcripts, windowing, not direction.lang), size)
    decoder = _Decoder(model, direction, langs)
    with progress, ThreadPoolExecutor(1) as executor:
        # the next windows are read while these are decoded
        reading = executor.submit(next, pools, None)
        while (pool := reading.result()) is not None:
            reading = executor.submit(next, pools, None)
            decoder.decode([part for part in pool if part.window is not None], progress)
            for transcript, window, cost, _ in pool:
                if window is None:
                    _tell(transcript)
                    yield transcript
                    # a header may have said something else
                    progress.expect(transcript.seconds - (transcript.file.seconds or 0.0))
                    progress.advance(cost, 1)


class _Part(NamedTuple):
    """A window of a file, or, without one, the file's end.

    Attributes:
        cost: seconds from the end of the file's previous window.
        opening: the windows by which the language is detected, with the first of them.
    """

    transcript: Transcript
    window: Window | None
    cost: float
    opening: Sequence[Window] = ()


def _read(transcripts: Iterable[Transcript], windowing: Windowing, detect: bool) -> Iterator[_Part]:
    for transcript in transcripts:
        done = 0.0
        opening: Sequence[Window] = ()
        try:
            windows = cut_windows(_counted(transcript), windowing)
            if detect:
                opening = take_opening(windows)
                windows = chain(opening, windows)
            for window in windows:
                if transcript.error is not None:
                    break
                yield _Part(transcript, window, window.end - done, opening)
                done, opening = window.end, ()
        except (BadAudio, OSError) as error:
            transcript.error = str(error)
        yield _Part(transcript, None, max(0.0, transcript.seconds - done))


def _counted(transcript: Transcript) -> Iterator[np.ndarray]:
    samples = 0
    for block in read_blocks(transcript.file.path):
        samples += len(block)
        transcript.seconds = samples / SAMPLE_RATE
        yield block


def _pools(parts: Iterable[_Part], seconds: float) -> Iterator[list[_Part]]:
    """Lists of parts with about so many seconds of windows."""
    pool: list[_Part] = []
    filled = 0.0
    for part in parts:
        pool.append(part)
        if part.window is not None:
            filled += part.window.end - part.window.start
        if filled >= seconds:
            yield pool
            pool, filled = [], 0.0
    if pool:
        yield pool


class _Decoder:
    """Decodes windows, and names the file of one that cannot be decoded."""

    def __init__(self, model: Speech2Text, direction: Direction, langs: Sequence[str]):
        self.model = model
        self.direction = direction
        self.langs = langs
        self.good = self.failed = 0

    def decode(self, parts: Sequence[_Part], progress: Progress) -> None:
        """Add a line a window to the transcripts, in the windows' order."""
        for part in parts:
            if part.opening:
                self._detect(part.transcript, part.opening)
        ordered = sorted(parts, key=lambda part: -len(_samples(part)))
        lines: dict[int, Line] = {}
        start = time.perf_counter()
        for row, hypotheses, reason in self.model.decode_stream(self._rows(ordered, progress)):
            now = time.perf_counter()
            part = ordered[int(row.example.utt_id)]
            part.transcript.decode_seconds += now - start
            start = now
            if not hypotheses:
                self._fail(part, reason)
            else:
                self.good += 1
                lines[id(part)] = self._line(part, hypotheses[0])
                part.transcript.decode_seconds += time.perf_counter() - now
                start = time.perf_counter()
            progress.advance(part.cost, 0)
        for part in parts:
            if id(part) in lines:
                part.transcript.lines.append(lines[id(part)])

    def _rows(self, parts: Sequence[_Part], progress: Progress) -> Iterator[Row]:
        for number, part in enumerate(parts):
            if part.transcript.error is None:
                found = part.transcript.language
                direction = self.direction.hearing(found.lang) if found else self.direction
                example = direction.example(str(number))
                yield self.model.prepare(
                    example, _samples(part), direction.prompt, direction.context
                )
            else:
                progress.advance(part.cost, 0)

    def _line(self, part: _Part, best: Hypothesis) -> Line:
        assert part.window is not None
        begin, end, samples = part.window.start, part.window.end, _samples(part)
        words = word_times(self.model, samples, best.text) if self.direction.words else []
        return Line(begin, end, best.text, best.score, tuple(word.later(begin) for word in words))

    def _detect(self, transcript: Transcript, opening: Sequence[Window]) -> None:
        start = time.perf_counter()
        try:
            found = together(
                [self.model.detect_language(window.samples, self.langs) for window in opening]
            )[0]
        except DataError as error:
            transcript.error = f"its language cannot be detected: {error}"
            return
        transcript.language = found
        transcript.decode_seconds += time.perf_counter() - start
        logging.info(
            "%s: %s, with %.0f %%", transcript.file.path, found.lang, 100 * found.probability
        )
        if strange := self.model.why_strange(*self.direction.hearing(found.lang).stratum):
            logging.warning("%s: %s", transcript.file.path, strange)

    def _fail(self, part: _Part, reason: str) -> None:
        self.failed += 1
        if not self.good and self.failed >= _HOPELESS:
            raise DataError(f"the first {self.failed} windows all failed: {reason}")
        assert part.window is not None
        start, end = clock(part.window.start), clock(part.window.end)
        part.transcript.error = f"cannot be decoded from {start} to {end}: {reason}"


def _samples(part: _Part) -> np.ndarray:
    assert part.window is not None
    return part.window.samples


def _tell(transcript: Transcript) -> None:
    path = transcript.file.path
    if transcript.error is not None:
        logging.warning("%s: %s", path, transcript.error)
    elif not transcript.lines:
        logging.warning("%s: nothing but silence", path)
    else:
        silence = sum(end - start for start, end in transcript.silences())
        logging.info(
            "%s: %s in %d windows; %s of silence were skipped",
            path,
            clock(transcript.seconds),
            len(transcript.lines),
            clock(silence),
        )
