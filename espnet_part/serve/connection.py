"""A connection on which requests have to come in time."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """Closed where the next request does not come within the time of keep-alive.

    Uvicorn waits for a first request for ever, and for the rest of one that has begun.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def on_response_complete(self) -> None:
        self._expect()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _expect(self) -> None:
        """Wait for another request than the last one."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(self.timeout_keep_alive, self._give_up, self.cycle)

    def _give_up(self, last: object) -> None:
        # a WebSocket has a protocol of its own
        if self.cycle is last and self.transport.get_protocol() is self:
            self.transport.close()
