"""A microphone over a WebSocket: texts that stay, and guesses at what is not yet told for certain.

What is said is cut as a file is (`cut_windows`), so that the texts that stay are those of the whole
recording, with nothing lost or repeated at a seam. Where silence is, is known half a minute later. A
guess cuts what was heard since the last window that stays as if it ended now; a window that was
decoded for a guess is not decoded again. A language that is left out is detected when the first window
stays, in what is heard by then, and kept; guesses before that detect it for themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from espnet_part.decode.detect import Guess, take_opening, together
from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Window, Windowing, cut_windows
from espnet_part.decode.transcribe import Line, Transcript
from espnet_part.decode.transcripts import to_subtitles, to_text
from espnet_part.errors import UserError
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.serve import answers
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.file_job import unnamed
from espnet_part.serve.form import LONGEST
from espnet_part.serve.keys import check_origin
from espnet_part.serve.model import Decoded
from espnet_part.serve.scheduler import Client, Undecodable
from espnet_part.serve.service import Service
from espnet_part.serve.watched import HUNG_UP
from espnet_part.tasks import ASR, S2TT

_AHEAD = 60 * SAMPLE_RATE  # samples that a client may send before they are cut
_POLL = 0.5  # seconds between two looks at whether the server stops
_DECIDED = 32.0  # seconds after which `cut_windows` knows what is silence, and a margin
_NO_TEXT = re.compile("[\ud800-\udfff]")  # halves of characters, which JSON can hold
_POLICY, _FAILED, _LATER = 1008, 1011, 1013  # codes with which a WebSocket is closed


class _Piece(NamedTuple):
    start: float
    end: float
    future: Future[Decoded]


async def serve_stream(websocket: WebSocket, service: Service) -> None:
    """Talk with a client: ``start``, frames, ``stop``; see the README for the messages."""
    await websocket.accept()
    start, status = time.monotonic(), 200
    try:
        check_origin(websocket.headers)
        direction = await _begin(websocket, service)
        with service.scheduler.admit() as client:
            await _Session(websocket, service, direction, client).run()
    except (WebSocketDisconnect, Gone):
        status = HUNG_UP
    except ApiError as error:
        status = error.status
        code = _FAILED if status == 500 else _LATER if status in (429, 503) else _POLICY
        await _close(websocket, code, {"type": "error", **error.body()})
    except Exception:
        status = 500
        logging.exception("a stream failed")
        failure = ApiError(500, "the server failed; its log says more", "server_error")
        await _close(websocket, _FAILED, {"type": "error", **failure.body()})
    seconds = time.monotonic() - start
    service.metrics.request("/v1/audio/stream", status, seconds)
    logging.info("WebSocket /v1/audio/stream: %d in %.2f s", status, seconds)


async def _close(websocket: WebSocket, code: int, last: dict[str, Any]) -> None:
    # nobody may be there
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
        await websocket.send_json(last)
        await websocket.close(code)


async def _begin(websocket: WebSocket, service: Service) -> Direction:
    """Read the first message."""
    try:
        message = await asyncio.wait_for(websocket.receive(), service.settings.idle_timeout)
    except asyncio.TimeoutError:
        raise ApiError(408, "no start message came", "timeout") from None
    values = _control(message)
    authorization = websocket.headers.get("authorization")
    if authorization is None and values.get("api_key"):  # browsers cannot send the header
        authorization = f"Bearer {values['api_key']}"
    service.keys.check(authorization)
    known = ("type", "api_key", "model", "language", "to_language", "prompt")
    wrong = [key for key in values if key not in known]
    if values.get("type") != "start" or wrong or not all(map(_is_text, values.values())):
        said = (
            'the first message is {"type": "start", "language": "de"}; other keys are short texts: '
        )
        raise ApiError(400, said + ", ".join(known[1:]), "bad_message", wrong[0] if wrong else None)
    if service.scheduler.state() in ("loading", "stopping"):
        service.scheduler.admit()  # says why not
    service.check_model(values.get("model", ""))
    target = values.get("to_language", "")
    task = ASR if target in ("", values.get("language")) else S2TT
    language, context = values.get("language", ""), values.get("prompt", "")
    return service.direction(task.name, language, target, context)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and not _NO_TEXT.search(value)


def _control(message: Any) -> dict[str, Any]:
    """A message of JSON."""
    if message["type"] == "websocket.disconnect":
        raise Gone
    try:
        values = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ApiError(400, "a message is a JSON object, or PCM in bytes", "bad_message")
    return values


class _Session:
    """One stream, from its first frame on.

    A thread cuts what comes in; of this event loop, one task receives, one sends the texts that
    stay, and one the guesses.
    """

    def __init__(
        self, websocket: WebSocket, service: Service, direction: Direction, client: Client
    ):
        self.websocket, self.service, self.direction = websocket, service, direction
        self.client = client
        self.transcript = Transcript(unnamed("stream"))
        self.reason = "stop"
        self._sent = self._taken = 0  # samples
        self._lock = threading.Condition()  # of the next four; PCM, since frames may be tiny
        self._coming = bytearray()  # what the thread has not taken
        self._all_came = False
        self._tail = bytearray()  # what was heard since the last window that stays
        self._tail_start = 0  # samples
        self._known: dict[tuple[str, bytes], Future[Decoded]] = {}  # of the last guess
        self._finals: asyncio.Queue[_Piece | Guess | Exception | None] = asyncio.Queue()
        self._changed = asyncio.Event()  # there is a new text, or the end
        self._ended = False
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        windowing = await asyncio.to_thread(self._windowing)
        await self._send("ready", self._languages())
        thread = threading.Thread(target=self._cut, args=(windowing,), name="stream", daemon=True)
        thread.start()
        tasks = [
            asyncio.ensure_future(each)
            for each in (self._receive(), self._send_finals(), self._send_guesses(windowing))
        ]
        try:
            receiving, sending, _ = tasks
            # sending ends when all is told; receiving before that only by an error or at its end
            await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                receiving.result()
            await sending
            await self._send("done", self._all())
            await self.websocket.close()
        finally:
            self.client.drop()
            self._end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(thread.join)
            self.service.metrics.audio(self.transcript.seconds)

    def _windowing(self) -> Windowing:
        try:
            return self.service.loaded().windowing(self.direction)
        except UserError as error:
            raise ApiError(400, str(error), "unsupported") from None

    async def _send(self, kind: str, values: dict[str, Any]) -> None:
        await self.websocket.send_json({"type": kind, **values})

    def _languages(self) -> dict[str, Any]:
        return answers.languages(self.direction, self.transcript.language)

    def _all(self) -> dict[str, Any]:
        text = to_text(self.transcript, self.direction.tgt)
        subtitles = {form: to_subtitles(self.transcript, form) for form in ("srt", "vtt")}
        return {
            "reason": self.reason,
            **self._languages(),
            "text": text,
            "duration": self.transcript.seconds,
            **subtitles,
        }

    async def _receive(self) -> None:
        """Take frames until the client, the server or a limit says that it is enough."""
        settings = self.service.settings
        begun = heard = time.monotonic()
        receiving = asyncio.ensure_future(self.websocket.receive())
        try:
            while True:
                done, _ = await asyncio.wait({receiving}, timeout=_POLL)
                if self.service.scheduler.state() == "stopping":
                    self.reason = "stopping"
                    break
                pcm = b""
                if done:
                    message = receiving.result()
                    if message.get("bytes") is None:
                        if _control(message).get("type") != "stop":
                            said = 'after the start, only {"type": "stop"}'
                            raise ApiError(400, said, "bad_message")
                        break
                    pcm = message["bytes"]
                    if len(pcm) % 2:
                        raise ApiError(400, "a frame is whole samples of 16 bits", "bad_audio")
                    receiving = asyncio.ensure_future(self.websocket.receive())
                now = time.monotonic()
                seconds = (self._sent + len(pcm) // 2) / SAMPLE_RATE
                if max(seconds, now - begun - settings.request_timeout) > settings.max_duration:
                    self.reason = "max_duration"
                    break
                if pcm:
                    await self._take(pcm)
                    heard = time.monotonic()
                elif now - heard >= settings.idle_timeout:
                    self.reason = "silent"
                    break
        finally:
            receiving.cancel()
            self._end()

    async def _take(self, pcm: bytes) -> None:
        """Give PCM to the thread; wait as long as too much of it is not cut."""
        self._sent += len(pcm) // 2
        with self._lock:
            self._coming += pcm
            self._lock.notify()
        while len(self._coming) > 2 * _AHEAD and not self.client.dropped:
            await asyncio.sleep(0.02)

    def _end(self) -> None:
        with self._lock:
            self._all_came = True
            self._lock.notify()

    async def _send_finals(self) -> None:
        number = 0
        while (entry := await self._finals.get()) is not None:
            if isinstance(entry, Exception):
                raise entry
            if isinstance(entry, Guess):
                await self._send("language", self._languages())
                continue
            try:
                decoded = await asyncio.shield(asyncio.wrap_future(entry.future))
            except Undecodable as error:
                raise ApiError(500, f"cannot be decoded: {error}", "undecodable") from None
            line = Line(entry.start, entry.end, decoded.text, decoded.score)
            self.transcript.lines.append(line)
            await self._send("final", answers.segment(number, line, decoded))
            number += 1
            self._changed.set()

    async def _send_guesses(self, windowing: Windowing) -> None:
        guessed = heard = 0
        while not self._ended:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self.service.settings.partial_seconds)
            self._changed.clear()
            told = len(self.transcript.lines)
            if (told, self._taken) == (guessed, heard):
                continue
            taken = self._taken
            guess = await self._guess(windowing)
            if guess is None:
                continue
            guessed, heard = told, taken
            if not self._ended and told == len(self.transcript.lines):
                await self._send("partial", guess)

    async def _guess(self, windowing: Windowing) -> dict[str, Any] | None:
        """What may be said since the last window that stays; None where others are first."""
        direction, language = self.direction, self.transcript.language
        windows = await asyncio.to_thread(self._recut, windowing)
        used: set[tuple[str, bytes]] = set()
        try:
            if windows and not direction.lang:
                heard = await self._decode(direction, take_opening(iter(windows)), used)
                if not heard:
                    return None
                language = together([decoded.languages for _, decoded in heard])[0]
                direction = direction.hearing(language.lang)
            found = await self._decode(direction, windows, used)
        finally:
            self._known = {key: self._known[key] for key in used}
        if found is None or self.direction.lang not in ("", direction.lang):
            return None
        lines = [Line(w.start, w.end, decoded.text, decoded.score) for w, decoded in found]
        text = to_text(Transcript(self.transcript.file, lines=lines), direction.tgt)
        start = lines[0].start if lines else self._taken / SAMPLE_RATE
        spoken = answers.languages(direction, language) if language else {}
        return {"start": round(start, 4), **spoken, "text": text}

    async def _decode(
        self, direction: Direction, windows: Sequence[Window], used: set[tuple[str, bytes]]
    ) -> list[tuple[Window, Decoded]] | None:
        """What can be decoded of the windows; None where there is no room for all of them in the queue.

        Args:
            used: is told what is known of them, then or the next time.
        """
        futures = await asyncio.to_thread(self._ask, direction, windows, used)
        if None in futures:
            return None
        waits = [asyncio.shield(asyncio.wrap_future(future)) for future in futures if future]
        found = await asyncio.gather(*waits, return_exceptions=True)
        return [
            (window, decoded)
            for window, decoded in zip(windows, found, strict=True)
            if isinstance(decoded, Decoded)
        ]

    # what follows runs in threads

    def _cut(self, windowing: Windowing) -> None:
        last: Exception | None = None
        try:
            for window in cut_windows(self._heard(windowing), windowing):
                if not self.direction.lang:
                    self._detect(window, windowing)
                future = self._submit(window)
                self._forget(round(window.end * SAMPLE_RATE))
                self._tell(_Piece(window.start, window.end, future))
        except Gone as error:
            last = error
        except Undecodable as error:
            last = ApiError(500, f"the language cannot be detected: {error}", "undecodable")
        except Exception as error:
            logging.exception("a stream cannot be cut")
            last = error
        self._tell(last)

    def _detect(self, first: Window, windowing: Windowing) -> None:
        """Keep the language that is heard up to now."""
        opening = take_opening(iter(self._recut(windowing))) or [first]
        heard = [self._submit(window) for window in opening]
        found = together([future.result().languages for future in heard])[0]
        self.transcript.language = found
        self.direction = self.direction.hearing(found.lang)
        self._tell(found)

    def _submit(self, window: Window) -> Future[Decoded]:
        """What is said in a window, if it is not known from a guess."""
        known = self._known.get(_key(self.direction, window))
        return known or self.client.submit(self.direction, window.samples)

    def _heard(self, windowing: Windowing) -> Iterator[np.ndarray]:
        keep = round((_DECIDED + 2 * windowing.max_window) * SAMPLE_RATE)
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._coming or self._all_came)
                pcm = bytes(self._coming)
                self._coming.clear()
                self._tail += pcm
                self._taken += len(pcm) // 2
            if self.client.dropped:
                raise Gone
            if not pcm:
                break
            self.transcript.seconds = self._taken / SAMPLE_RATE
            self._forget(self._taken - keep)  # of a long silence
            yield _samples(pcm)
        self._ended = True

    def _forget(self, end: int) -> None:
        """Drop the tail's samples before ``end``."""
        with self._lock:
            count = min(end - self._tail_start, len(self._tail) // 2)
            if count > 0:
                del self._tail[: 2 * count]
                self._tail_start += count

    def _recut(self, windowing: Windowing) -> list[Window]:
        """The windows since the last one that stays, if the stream ended now."""
        with self._lock:
            pcm, start = bytes(self._tail), self._tail_start / SAMPLE_RATE
        return [
            Window(start + window.start, start + window.end, window.samples)
            for window in cut_windows([_samples(pcm)], windowing)
        ]

    def _ask(
        self, direction: Direction, windows: Sequence[Window], used: set[tuple[str, bytes]]
    ) -> list[Future[Decoded] | None]:
        """What is said in windows; None where there is no room in the queue."""
        futures: list[Future[Decoded] | None] = []
        for window in windows:
            key = _key(direction, window)
            future = self._known.get(key) or self.client.try_submit(direction, window.samples)
            if future is not None:
                self._known[key] = future
                used.add(key)
            futures.append(future)
        return futures

    def _tell(self, entry: _Piece | Guess | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._finals.put_nowait, entry)


def _samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def _key(direction: Direction, window: Window) -> tuple[str, bytes]:
    return direction.lang, hashlib.blake2b(window.samples.tobytes(), digest_size=16).digest()
