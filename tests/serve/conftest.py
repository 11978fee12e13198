"""A server in this process, with a tiny model that has random weights."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from espnet_part.serve.keys import Keys
from espnet_part.serve.model import ServedModel
from espnet_part.serve.server import Server, listen
from espnet_part.serve.service import Service
from espnet_part.serve.settings import Settings
from espnet_part.serve.spool import Spool
from tests.decode.conftest import exp, model, spelling  # noqa: F401
from tests.decode.sound import RATE, room, speech

TRAINED_ON = frozenset({("asr", "de", "de"), ("asr", "en", "en"), ("s2tt", "de", "en")})
WINDOWS = {"max_window": 4.0}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error in OpenAI's form."""
        assert self.json["error"].keys() == {"message", "type", "param", "code"}
        return f"{self.status} {self.json['error']['message']}"

    @property
    def events(self) -> list[dict[str, Any]]:
        blocks = self.text.removesuffix("\n\n").split("\n\n")
        return [json.loads(block.split("\ndata: ")[1]) for block in blocks]


@dataclass
class Running:
    """A server that runs."""

    service: Service
    server: Server
    port: int

    def connect(self, timeout: float = 120.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()

    def post(
        self,
        file: Path | bytes | None,
        path: str = "transcriptions",
        *,
        name: str = "a.wav",
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        content = file.read_bytes() if isinstance(file, Path) else file
        body, kind = multipart(content, name, fields)
        return self.ask(
            "POST", f"/v1/audio/{path}", body, {"Content-Type": kind, **(headers or {})}
        )

    def idle(self) -> bool:
        """Wait until nobody is at work, and say whether no file is left."""
        until(lambda: not self.service.scheduler.clients())
        return not self.service.spool.files()


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


def multipart(content: bytes | None, name: str, fields: dict[str, str]) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    if content is not None:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        parts.append(head.encode("utf-8", "surrogateescape") + content + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), (
        f"multipart/form-data; boundary={boundary}"
    )


@contextmanager
def running(
    served: Any, root: Path, keys: list[str] | None = None, **settings: Any
) -> Iterator[Running]:
    service = Service(
        "tiny", Settings(**{"batch_size": 4, **settings}), Keys(keys or []), Spool(root)
    )
    server = Server(service)

    def load() -> Any:
        service.model = served() if callable(served) else served
        return service.model

    service.scheduler.start(load, lambda error: None)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        run = lambda: asyncio.run(server.serve(sockets=[listener]))  # noqa: E731
        thread = threading.Thread(target=run)
        thread.start()
        try:
            if not callable(served):
                until(lambda: service.scheduler.state() == "ok")
            yield Running(service, server, port)
        finally:
            service.scheduler.stop()
            server.should_exit = True
            thread.join(60)
            assert service.scheduler.end(60)
            service.spool.close()
            assert not service.spool.directory.exists()


@pytest.fixture(scope="session")
def served(model: Any) -> ServedModel:  # noqa: F811
    """The tiny model, with languages that its weights would name."""
    model.trained_on = TRAINED_ON
    return ServedModel(model, dict(WINDOWS))


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a server with a model (by default `served`), keys and settings."""
    root = tmp_path / "spool"
    root.mkdir()
    with ExitStack() as stack:

        def run(model: Any = None, keys: list[str] | None = None, **settings: Any) -> Running:
            model = model or request.getfixturevalue("served")
            return stack.enter_context(running(model, root, keys, **settings))

        yield run


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A recording: seconds of speech, and negative ones of silence."""
    folder = tmp_path_factory.mktemp("talks")

    def make(*parts: float, seed: int = 0, suffix: str = ".flac") -> Path:
        # no hash(), which is the same for -1.0 and -2.0
        name = hashlib.sha256(repr((seed, parts)).encode()).hexdigest()[:16]
        path = folder / f"{name}{suffix}"
        if not path.exists():
            pieces = [
                room(abs(seconds), seed + n) + (speech(seconds, seed + n) if seconds > 0 else 0)
                for n, seconds in enumerate(parts)
            ]
            soundfile.write(path, np.concatenate(pieces), RATE)
        return path

    return make
