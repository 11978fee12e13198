"""The routes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from espnet_part import __version__
from espnet_part.decode.transcripts import to_subtitles, to_text
from espnet_part.display import plain
from espnet_part.serve import answers
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.file_job import FileJob
from espnet_part.serve.form import FORMATS, Form, drain, read_form, read_wishes
from espnet_part.serve.keys import check_origin
from espnet_part.serve.live import serve_stream
from espnet_part.serve.model import Direction
from espnet_part.serve.page_files import add_page
from espnet_part.serve.service import Service
from espnet_part.tasks import ASR, S2TT, TASKS

_HUNG_UP = 499  # nginx's number of a client that did not wait for the answer


def create_app(service: Service) -> FastAPI:
    """The application of a server."""
    # no pages of documentation: they load scripts from elsewhere
    app = FastAPI(title="part_serve", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(_Watched, service=service)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(Gone, _refuse_gone)
    app.add_exception_handler(Exception, _refuse_failure)

    for path, task in (("transcriptions", ASR.name), ("translations", S2TT.name)):
        app.add_api_route(
            f"/v1/audio/{path}",
            _audio_route(service, task),
            methods=["POST"],
            openapi_extra=_body(task),
            summary=TASKS[task].title,
        )

    add_page(app)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        service.keys.check(request.headers.get("authorization"))
        return JSONResponse({"object": "list", "data": [_model(service)]})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        service.keys.check(request.headers.get("authorization"))
        service.check_model(name)
        return JSONResponse(_model(service))

    @app.websocket("/v1/audio/stream")
    async def stream(websocket: WebSocket) -> None:
        await serve_stream(websocket, service)

    @app.get("/health")
    async def health() -> Response:
        state = service.scheduler.state()
        return JSONResponse({"status": state}, 200 if state == "ok" else 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        service.keys.check(request.headers.get("authorization"))
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(service.metrics.text(), media_type=kind)

    return app


def _model(service: Service) -> dict[str, Any]:
    """OpenAI's entry, and what the model was trained on; null where it does not say."""
    languages: dict[str, list[list[str]]] | None = None
    if service.model is not None and service.model.trained_on:
        languages = {ASR.name: [], S2TT.name: []}
        for task, lang, tgt in sorted(service.model.trained_on):
            if task in languages:
                languages[task].append([lang, tgt])
    entry = {"id": service.name, "object": "model", "created": 0, "owned_by": "espnet_part"}
    return {**entry, "languages": languages}


def _audio_route(service: Service, task: str) -> Callable[[Request], Awaitable[Response]]:
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
            direction = service.direction(task, wishes.language, wishes.target)
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
            return _Events(job, direction, wishes.response_format == "verbose_json", end)
        try:
            segments = await _unless_gone(request.receive, _all(job), end)
        finally:
            job.drop()
        body = answers.answer(wishes.response_format, job.transcript, segments, direction)
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

    def __init__(self, job: FileJob, direction: Direction, verbose: bool, end: float):
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self.job, self.direction, self.verbose, self.end = job, direction, verbose, end

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
        deltas = answers.Deltas(self.direction.tgt)
        segments: list[Any] = []
        while first is not None:
            line, decoded = first
            values: dict[str, Any] = {"delta": deltas.add(line)}
            if self.verbose:
                values["segment"] = answers.segment(len(segments), line, decoded)
                segments.append(first)
            if values["delta"] or self.verbose:
                await self._event(send, "transcript.text.delta", values)
            first = await anext(events, None)
        transcript = self.job.transcript
        values = {"text": to_text(transcript, self.direction.tgt)}
        if self.verbose:
            values |= answers.verbose(transcript, segments, self.direction)
            values |= {form: to_subtitles(transcript, form) for form in ("srt", "vtt")}
        await self._event(send, "transcript.text.done", values)

    async def _event(self, send: Send, kind: str, values: dict[str, Any]) -> None:
        body = answers.event(kind, values)
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, error.headers())


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {plain(request.url.path, 200)}: {error.detail}"
    answer = ApiError(error.status_code, message, "unknown_url")
    return JSONResponse(answer.body(), error.status_code, error.headers)


async def _refuse_gone(request: Request, error: Exception) -> Response:
    """Nobody hears it, except where the server ends before the answer."""
    answer = ApiError(503, "the server is stopping", "stopping", retry_after=10)
    return JSONResponse(answer.body(), 503, answer.headers())


async def _refuse_failure(request: Request, error: Exception) -> Response:
    answer = ApiError(500, "the server failed; its log says more", "server_error")
    return JSONResponse(answer.body(), 500)


class _Watched:
    """Counts requests, logs them, and adds headers to answers."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, gone = time.monotonic(), 0, False
        more = scope["method"] == "POST"

        async def hear() -> Message:
            nonlocal gone, more
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            more = more and not gone and message.get("more_body", False)
            return message

        async def say(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                if more and message["status"] != 408:
                    await drain(hear)
                status = _HUNG_UP if gone else message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        try:
            await self.app(scope, hear, say)
        finally:
            seconds = time.monotonic() - start
            route = scope.get("route")
            endpoint = getattr(route, "path", "other")
            if gone:
                status = _HUNG_UP
            self.service.metrics.request(endpoint, status or 500, seconds)
            level = logging.DEBUG if endpoint in ("/health", "/metrics") else logging.INFO
            path = plain(scope["path"], 200)
            logging.log(level, "%s %s: %d in %.2f s", scope["method"], path, status, seconds)


def _body(task: str) -> dict[str, Any]:
    """The fields of a request, for /openapi.json."""
    text = {"type": "string"}
    properties = {
        "file": {**text, "format": "binary"},
        "model": text,
        "language": {**text, "description": "spoken; ISO 639"},
        "to_language": {**text, "description": "written; en by default"},
        "response_format": {**text, "enum": list(FORMATS)},
        "stream": {"type": "boolean"},
    }
    if TASKS[task].transcribes:
        del properties["to_language"]
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}
