"""From options to a server that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from espnet_part.errors import ConfigError
from espnet_part.serve.app import create_app
from espnet_part.serve.connection import Connection
from espnet_part.serve.keys import Keys
from espnet_part.serve.model import ServedModel
from espnet_part.serve.service import Service
from espnet_part.serve.settings import Settings
from espnet_part.serve.spool import Spool

_LAST_BATCH = 10.0  # seconds that the batch at work has to end
_FRAME = 2**20  # bytes of a message of a WebSocket, at most


def serve(
    listener: socket.socket,
    name: str,
    settings: Settings,
    keys: Keys,
    load: Callable[[], ServedModel],
) -> None:
    """Run a server until SIGTERM or SIGINT; what is at work then ends first.

    Args:
        listener: where it listens; see `listen`.
        name: of the model.
        load: gives the model; called in another thread, while the server already says that it is
            not ready.

    Raises:
        UserError: the model cannot be loaded.
    """
    spool = Spool()
    try:
        service = Service(name, settings, keys, spool)
        server = Server(service)
        failures: list[BaseException] = []

        def load_model() -> ServedModel:
            service.model = load()
            return service.model

        def ready() -> None:
            logging.info("ready: %s at %s", name, url(listener))

        def failed(error: BaseException) -> None:
            failures.append(error)
            server.should_exit = True

        service.scheduler.start(load_model, failed, ready)
        asyncio.run(server.serve(sockets=[listener]))
        if failures:
            raise failures[0]
        ended = service.scheduler.end(_LAST_BATCH)
    finally:
        spool.close()
    if not ended:
        # a thread inside torch would crash the interpreter as it ends
        logging.warning("the batch at work is abandoned")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    logging.info("stopped")


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before the model is loaded.

    Raises:
        ConfigError: it is in use, or there is no such address here.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {host}: no address of this machine ({error})") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        mend = "; stop what uses it, or give another --port" if error.errno == 98 else ""
        raise ConfigError(f"--host {host} --port {port}: {error.strerror}{mend}") from None
    return listener


def check_open(host: str, keys: Keys, allow_anyone: bool) -> None:
    """Only this machine reaches a server without keys.

    Raises:
        ConfigError: others would.
    """
    if not keys and not allow_anyone and not _is_loopback(host):
        raise ConfigError(
            f"--host {host}: others on the network would reach it; give --api_keys FILE, or "
            "--allow_anyone true"
        )


def url(listener: socket.socket) -> str:
    """Where a browser finds the server."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(uvicorn.Server):
    """Lets what is at work end before it closes connections, and ends with status 0."""

    def __init__(self, service: Service):
        config = uvicorn.Config(
            create_app(service),
            http=Connection,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=_FRAME,
            timeout_keep_alive=math.ceil(service.settings.idle_timeout),
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """End when what is at work has; the second time, at once."""
        if self.should_exit:
            self.force_exit = True
            return
        clients = self.service.scheduler.clients()
        logging.info("stopping; %d requests at work", clients)
        self.service.scheduler.stop()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the requests, within the time of grace; new ones are told to come later."""
        scheduler = self.service.scheduler
        end = asyncio.get_running_loop().time() + self.service.settings.grace
        while scheduler.clients() or self._answering():
            if self.force_exit or asyncio.get_running_loop().time() > end:
                logging.warning("%d requests are given up", scheduler.clients())
                break
            await asyncio.sleep(0.05)
        scheduler.drop()
        await super().shutdown(sockets)

    def _answering(self) -> bool:
        return bool(self.server_state.tasks)
