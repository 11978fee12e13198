"""From a form with a file to its text, whole or window by window."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from espnet_part.decode.transcripts import to_subtitles, to_text
from espnet_part.serve import answers
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.file_job import FileJob
from espnet_part.serve.form import FORMATS, Form, read_form, read_wishes
from espnet_part.serve.keys import check_origin
from espnet_part.serve.service import Service
from espnet_part.tasks import TASKS


def audio_route(service: Service, task: str) -> Callable[[Request], Awaitable[Response]]:
    """The route that transcribes or translates a file."""

    async def route(request: Request) -> Response:
        service.keys.check(request.headers.get("authorization"))
        check_origin(request.headers)
        end = time.monotonic() + service.settings.request_timeout
        client = service.scheduler.admit()
        form = Form()
        try:
            await read_form(request.receive, request.headers, form, service.spool, service.settings)
            wishes = read_wishes(form.fields)
            service.check_model(wishes.model)
            direction = service.direction(task, wishes.language, wishes.target, wishes.context)
            if wishes.words:
                direction = service.with_words(direction)
            assert form.path is not None
            job = FileJob(
                form.path,
                form.filename,
                service.loaded(),
                direction,
                client,
                service.settings.max_duration,
                service.metrics.audio,
            )
        except BaseException:
            form.remove()
            client.close()
            raise
        # from here on the job's thread owns the file and the place in the queue
        if wishes.stream:
            return _Events(job, wishes.response_format == "verbose_json", end)
        try:
            segments = await _unless_gone(request.receive, _all(job), end)
        finally:
            job.drop()
        body = answers.answer(wishes.response_format, job.transcript, segments, job.direction)
        return Response(body, media_type=answers.TYPES[wishes.response_format])

    return route


async def _all(job: FileJob) -> list[Any]:
    return [each async for each in job.segments()]


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, Any], end: float) -> Any:
    """Wait for something, as long as the client does and the time is not up.

    Raises:
        Gone: the client has hung up. ApiError: 504.
    """

    async def hung_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(hung_up())
    try:
        await asyncio.wait(
            {working, leaving},
            timeout=max(0.0, end - time.monotonic()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if working.done():
            return working.result()
        if leaving.done():
            raise Gone
        raise ApiError(504, "the request took too long; cut the file into parts", "timeout")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


class _Events(Response):
    """The text as server-sent events, window by window.

    Args:
        verbose: each event has its segment, and the last one all that verbose_json has, and
            subtitles.
    """

    def __init__(self, job: FileJob, verbose: bool, end: float):
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self.job, self.verbose, self.end = job, verbose, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            events = self.job.segments()
            # a file that cannot be read at all is answered with a status
            first = await _unless_gone(receive, anext(events, None), self.end)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                await _unless_gone(receive, self._send(send, first, events), self.end)
            except ApiError as error:
                await self._event(send, "error", error.body())
            except Gone:
                return
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.job.drop()

    async def _send(self, send: Send, first: Any, events: Any) -> None:
        direction = self.job.direction  # with a first segment, its language is known
        deltas = answers.Deltas(direction.tgt)
        segments: list[Any] = []
        while first is not None:
            line, decoded = first
            values: dict[str, Any] = {"delta": deltas.add(line)}
            if self.verbose:
                values["segment"] = answers.segment(len(segments), line, decoded)
                values |= answers.languages(direction, self.job.transcript.language)
                segments.append(first)
            if values["delta"] or self.verbose:
                await self._event(send, "transcript.text.delta", values)
            first = await anext(events, None)
        transcript = self.job.transcript
        values = {"text": to_text(transcript, direction.tgt)}
        if self.verbose:
            values |= answers.verbose(transcript, segments, direction)
            values |= {form: to_subtitles(transcript, form) for form in ("srt", "vtt")}
        await self._event(send, "transcript.text.done", values)

    async def _event(self, send: Send, kind: str, values: dict[str, Any]) -> None:
        body = answers.event(kind, values)
        await send({"type": "http.response.body", "body": body, "more_body": True})


def form_schema(task: str) -> dict[str, Any]:
    """The fields of a request, for /openapi.json."""
    text = {"type": "string"}
    properties = {
        "file": {**text, "format": "binary"},
        "model": text,
        "language": {**text, "description": "spoken; ISO 639; detected by default"},
        "to_language": {**text, "description": "written; en by default"},
        "prompt": {**text, "description": "what may be said, such as names"},
        "response_format": {**text, "enum": list(FORMATS)},
        "stream": {"type": "boolean"},
    }
    if TASKS[task].transcribes:
        del properties["to_language"]
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}
