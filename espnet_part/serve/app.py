"""The routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from espnet_part import __version__
from espnet_part.display import plain
from espnet_part.serve.audio import audio_route, form_schema
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.live import serve_stream
from espnet_part.serve.page_files import add_page
from espnet_part.serve.service import Service
from espnet_part.serve.watched import Watched
from espnet_part.tasks import ASR, S2TT, TASKS


def create_app(service: Service) -> FastAPI:
    """The application of a server."""
    # no pages of documentation: they load scripts from elsewhere
    app = FastAPI(title="part_serve", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Watched, service=service)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(Gone, _refuse_gone)
    app.add_exception_handler(Exception, _refuse_failure)

    for path, task in (("transcriptions", ASR.name), ("translations", S2TT.name)):
        app.add_api_route(
            f"/v1/audio/{path}",
            audio_route(service, task),
            methods=["POST"],
            openapi_extra=form_schema(task),
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
