"""One file on its way: a thread that reads it and cuts it, and the windows' texts in order."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path

import numpy as np

from espnet_part.data.audio import BadAudio
from espnet_part.decode.audio_file import probe_duration, read_blocks
from espnet_part.decode.detect import take_opening, together
from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Window, cut_windows
from espnet_part.decode.transcribe import AudioFile, Line, Transcript
from espnet_part.display import plain
from espnet_part.errors import UserError
from espnet_part.progress import clock
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.model import Decoded, ServedModel
from espnet_part.serve.scheduler import Client, Undecodable


def unnamed(name: str) -> AudioFile:
    """What a transcript is of that is no file of the user's."""
    return AudioFile(Path(name), Path(name), None)


class FileJob:
    """Transcribes a file; what it holds of it does not grow with its length.

    The thread owns the file and the place in the queue: both are gone when it ends, whatever
    becomes of the request.

    Attributes:
        direction: what is asked for; with the language that is heard, where that was to be detected,
            from the first segment on.

    Args:
        path: the file; deleted at the end.
        filename: its name for messages.
        client: its place in the queue; closed at the end.
        max_duration: seconds of audio.
    """

    def __init__(
        self,
        path: Path,
        filename: str,
        model: ServedModel,
        direction: Direction,
        client: Client,
        max_duration: float,
        heard: Callable[[float], None],
    ):
        self.path, self.model, self.direction, self.client = path, model, direction, client
        self.max_duration, self.heard = max_duration, heard
        self.transcript = Transcript(unnamed(plain(filename, 200) or "upload"))
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[float, float, Future[Decoded]] | Exception | None] = (
            asyncio.Queue()
        )
        self._thread = threading.Thread(target=self._run, name="file", daemon=True)
        self._thread.start()

    async def segments(self) -> AsyncIterator[tuple[Line, Decoded]]:
        """The windows' texts in order, as they are decoded; the transcript gets the lines.

        Raises:
            ApiError: bad audio, or it cannot be decoded. Gone: the server is ending.
        """
        while (entry := await self._queue.get()) is not None:
            if isinstance(entry, Exception):
                raise entry
            start, end, future = entry
            try:
                decoded = await asyncio.wrap_future(future)
            except Undecodable as error:
                raise ApiError(
                    500,
                    f"cannot be decoded from {clock(start)} to {clock(end)}: {error}",
                    "undecodable",
                ) from None
            words = tuple(word.later(start) for word in decoded.words)
            line = Line(start, end, decoded.text, decoded.score, words)
            self.transcript.lines.append(line)
            yield line, decoded

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self.client.drop()

    def _run(self) -> None:
        last: Exception | None = None
        try:
            self._read()
        except BadAudio as error:
            last = ApiError(400, f"file: {error}", "bad_audio", "file")
        except (ApiError, Gone) as error:
            last = error
        except Undecodable as error:
            last = ApiError(500, f"the language cannot be detected: {error}", "undecodable")
        except UserError as error:  # the model cannot do it
            last = ApiError(400, str(error), "unsupported")
        except Exception:
            logging.exception("a file cannot be read")
            last = ApiError(500, "the server failed to read the file", "server_error")
        finally:
            self.path.unlink(missing_ok=True)
            self.heard(self.transcript.seconds)
            self._tell(last)
            self.client.finish()

    def _read(self) -> None:
        windowing = self.model.windowing(self.direction)
        stated = probe_duration(self.path)
        if stated is not None:
            self._check_length(stated)
        windows = cut_windows(self._blocks(), windowing)
        if not self.direction.lang:
            opening = take_opening(windows)
            windows = chain(opening, windows)
            if opening:
                self._detect(opening)
        for window in windows:
            future = self.client.submit(self.direction, window.samples)
            self._tell((window.start, window.end, future))

    def _detect(self, opening: Sequence[Window]) -> None:
        heard = [self.client.submit(self.direction, window.samples) for window in opening]
        found = together([future.result().languages for future in heard])[0]
        self.transcript.language = found
        self.direction = self.direction.hearing(found.lang)

    def _blocks(self) -> Iterator[np.ndarray]:
        samples = 0
        for block in read_blocks(self.path):
            if self.client.dropped:
                raise Gone
            samples += len(block)
            self.transcript.seconds = samples / SAMPLE_RATE
            self._check_length(self.transcript.seconds)
            yield block

    def _check_length(self, seconds: float) -> None:
        if seconds > self.max_duration:
            raise ApiError(
                413,
                f"file: longer than {self.max_duration:g} s of audio, which is the limit",
                "too_long",
                "file",
            )

    def _tell(self, entry: tuple[float, float, Future[Decoded]] | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, entry)
        except RuntimeError:  # the server has ended
            self.client.drop()
