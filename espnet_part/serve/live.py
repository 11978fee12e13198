"""A microphone over a WebSocket: texts that stay, and guesses at what is not yet told for certain.

What is said is cut as a file is (`cut_windows`), so that the texts that stay are those of the whole
recording, with nothing lost or repeated at a seam. Where silence is, is known half a minute later. A
guess cuts what was heard since the last window that stays as if it ended now; a window that was
decoded for a guess is not decoded again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from espnet_part.decode.direction import Direction
from espnet_part.decode.longform import Windowing, cut_windows
from espnet_part.decode.transcribe import Line, Transcript
from espnet_part.decode.transcripts import to_subtitles, to_text
from espnet_part.errors import UserError
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.serve import answers
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.file_job import unnamed
from espnet_part.serve.keys import check_origin
from espnet_part.serve.model import Decoded
from espnet_part.serve.scheduler import Client, Undecodable
from espnet_part.serve.service import Service
from espnet_part.serve.watched import HUNG_UP
from espnet_part.tasks import ASR, S2TT

_AHEAD = 60 * SAMPLE_RATE  # samples that a client may send before they are cut
_POLL = 0.5  # seconds between two looks at whether the server stops
_DECIDED = 32.0  # seconds after which `cut_windows` knows what is silence, and a margin
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
    if (
        values.get("type") != "start"
        or wrong
        or not all(isinstance(v, str) for v in values.values())
    ):
        said = 'the first message is {"type": "start", "language": "de"}; other keys are texts: '
        raise ApiError(400, said + ", ".join(known[1:]), "bad_message", wrong[0] if wrong else None)
    if service.scheduler.state() in ("loading", "stopping"):
        service.scheduler.admit()  # says why not
    service.check_model(values.get("model", ""))
    target = values.get("to_language", "")
    task = ASR if target in ("", values.get("language")) else S2TT
    language, context = values.get("language", ""), values.get("prompt", "")
    direction = service.direction(task.name, language, target, context)
    if not direction.lang:
        said = "language: give the language that is spoken; of a stream it is not detected"
        raise ApiError(400, said, "missing_language", "language")
    return direction


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
        self._blocks: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        self._sent = self._taken = 0  # samples
        self._lock = threading.Lock()  # of the tail and of what is known
        self._tail: list[np.ndarray] = []  # what was heard since the last window that stays
        self._tail_start = 0  # samples
        self._known: dict[bytes, Future[Decoded]] = {}  # of the last guess, by what was decoded
        self._finals: asyncio.Queue[_Piece | Exception | None] = asyncio.Queue()
        self._changed = asyncio.Event()  # there is a new text, or the end
        self._ended = False
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        windowing = await asyncio.to_thread(self._windowing)
        await self._send(
            "ready", {"language": self.direction.lang, "to_language": self.direction.tgt}
        )
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
            self._blocks.put(None)
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

    def _all(self) -> dict[str, Any]:
        text = to_text(self.transcript, self.direction.tgt)
        subtitles = {form: to_subtitles(self.transcript, form) for form in ("srt", "vtt")}
        return {
            "reason": self.reason,
            "text": text,
            "duration": self.transcript.seconds,
            **subtitles,
        }

    async def _receive(self) -> None:
        """Take frames until the client, the server or a limit says that it is enough."""
        settings, waited = self.service.settings, 0.0
        receiving = asyncio.ensure_future(self.websocket.receive())
        try:
            while True:
                done, _ = await asyncio.wait({receiving}, timeout=_POLL)
                if self.service.scheduler.state() == "stopping":
                    self.reason = "stopping"
                    break
                if not done:
                    waited += _POLL
                    if waited >= settings.idle_timeout:
                        self.reason = "silent"
                        break
                    continue
                message, waited = receiving.result(), 0.0
                if message.get("bytes") is None:
                    if _control(message).get("type") != "stop":
                        raise ApiError(400, 'after the start, only {"type": "stop"}', "bad_message")
                    break
                if len(message["bytes"]) % 2:
                    raise ApiError(400, "a frame is whole samples of 16 bits", "bad_audio")
                samples = np.frombuffer(message["bytes"], "<i2").astype(np.float32) / 32768
                if self._sent + len(samples) > settings.max_duration * SAMPLE_RATE:
                    self.reason = "max_duration"
                    break
                self._sent += len(samples)
                self._blocks.put(samples)
                while self._sent - self._taken > _AHEAD and not self.client.dropped:
                    await asyncio.sleep(0.02)
                receiving = asyncio.ensure_future(self.websocket.receive())
        finally:
            receiving.cancel()
            self._blocks.put(None)

    async def _send_finals(self) -> None:
        number = 0
        while (entry := await self._finals.get()) is not None:
            if isinstance(entry, Exception):
                raise entry
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
            guessed, heard = told, self._taken
            pieces = await asyncio.to_thread(self._guess, windowing)
            if pieces is None:  # others are first
                continue
            waits = [asyncio.shield(asyncio.wrap_future(piece.future)) for piece in pieces]
            found = await asyncio.gather(*waits, return_exceptions=True)
            if self._ended or told != len(self.transcript.lines):
                continue
            lines = [
                Line(piece.start, piece.end, decoded.text, decoded.score)
                for piece, decoded in zip(pieces, found, strict=True)
                if isinstance(decoded, Decoded)
            ]
            text = to_text(Transcript(self.transcript.file, lines=lines), self.direction.tgt)
            start = lines[0].start if lines else heard / SAMPLE_RATE
            await self._send("partial", {"start": round(start, 4), "text": text})

    # what follows runs in threads

    def _cut(self, windowing: Windowing) -> None:
        last: Exception | None = None
        try:
            for window in cut_windows(self._heard(windowing), windowing):
                future = self._find(window.samples)
                if future is None:
                    future = self.client.submit(self.direction, window.samples)
                self._forget(round(window.end * SAMPLE_RATE))
                self._tell(_Piece(window.start, window.end, future))
        except Gone as error:
            last = error
        except Exception as error:
            logging.exception("a stream cannot be cut")
            last = error
        self._tell(last)

    def _heard(self, windowing: Windowing) -> Iterator[np.ndarray]:
        keep = round((_DECIDED + 2 * windowing.max_window) * SAMPLE_RATE)
        while (samples := self._blocks.get()) is not None:
            with self._lock:
                self._tail.append(samples)
                self._taken += len(samples)
                self.transcript.seconds = self._taken / SAMPLE_RATE
            self._forget(self._taken - keep)  # of a long silence
            yield samples
        if self.client.dropped:
            raise Gone
        self._ended = True

    def _forget(self, end: int) -> None:
        """Drop the tail's samples before ``end``."""
        with self._lock:
            while self._tail and self._tail_start + len(self._tail[0]) <= end:
                self._tail_start += len(self._tail.pop(0))
            if self._tail and self._tail_start < end:
                self._tail[0] = self._tail[0][end - self._tail_start :]
                self._tail_start = end

    def _find(self, samples: np.ndarray) -> Future[Decoded] | None:
        with self._lock:
            return self._known.get(_key(samples))

    def _guess(self, windowing: Windowing) -> list[_Piece] | None:
        """Windows of the tail; None where there is no room for them in the queue."""
        with self._lock:
            blocks, start = list(self._tail), self._tail_start / SAMPLE_RATE
        pieces, known = [], {}
        for window in cut_windows(blocks, windowing):
            future = self._find(window.samples)
            if future is None:
                future = self.client.try_submit(self.direction, window.samples)
            if future is None:
                return None
            known[_key(window.samples)] = future
            pieces.append(_Piece(start + window.start, start + window.end, future))
        with self._lock:
            self._known = known
        return pieces

    def _tell(self, entry: _Piece | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._finals.put_nowait, entry)


def _key(samples: np.ndarray) -> bytes:
    return hashlib.blake2b(samples.tobytes(), digest_size=16).digest()
