"""Around every request: counts, a line in the log, and headers."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from espnet_part.display import plain
from espnet_part.serve.form import drain
from espnet_part.serve.service import Service

HUNG_UP = 499
"""nginx's number of a client that did not wait for the answer."""


class Watched:
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
                status = HUNG_UP if gone else message["status"]
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
                status = HUNG_UP
            self.service.metrics.request(endpoint, status or 500, seconds)
            level = logging.DEBUG if endpoint in ("/health", "/metrics") else logging.INFO
            path = plain(scope["path"], 200)
            logging.log(level, "%s %s: %d in %.2f s", scope["method"], path, status, seconds)
