"""A request with a file: multipart/form-data, whose file goes to the disk as it comes in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from espnet_part.decode.audio_file import AUDIO_SUFFIXES
from espnet_part.display import plain
from espnet_part.errors import did_you_mean
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.settings import MEGABYTE, Settings
from espnet_part.serve.spool import Spool

Receive = Callable[[], Awaitable[Any]]

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
_FIELDS = (
    *("file", "model", "language", "to_language", "target_language", "response_format", "stream"),
    *("temperature", "prompt", "timestamp_granularities[]", "timestamp_granularities"),
    *("include[]", "include", "chunking_strategy"),
)
LONGEST = 10_000
"""Bytes of a field that is no file."""
_MOST = 50  # parts
_BESIDE = MEGABYTE  # bytes of all that is not the file
_SLOWEST = 500  # bytes a second of a body, after as long as it may be silent
_DRAIN_SECONDS = 5.0


@dataclass
class Form:
    """What was sent.

    Attributes:
        path: where the file lies; None where none was sent.
        filename: what the client calls it; for messages.
        fields: the others by name.
    """

    path: Path | None = None
    filename: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    def remove(self) -> None:
        """Delete the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Wishes:
    """What the fields ask for.

    Attributes:
        context: OpenAI's ``prompt``: what may be said, such as names.
        words: whether the times of words are wanted.
    """

    model: str
    language: str
    target: str
    context: str
    words: bool
    response_format: str
    stream: bool


def read_wishes(fields: dict[str, str]) -> Wishes:
    """Check the fields.

    Raises:
        ApiError: 400, which names the field.
    """
    for name in fields:
        if name not in _FIELDS:
            raise _bad(name, did_you_mean(name, _FIELDS).replace("key", "field", 1))
    form = fields.get("response_format", "json")
    if form not in FORMATS:
        raise _bad("response_format", f"response_format: must be one of {', '.join(FORMATS)}")
    stream = fields.get("stream", "false").lower()
    if stream not in ("true", "false", "1", "0"):
        raise _bad("stream", "stream: must be true or false")
    streams = stream in ("true", "1")
    if streams and form in ("srt", "vtt"):
        raise _bad(
            "stream", f"stream: {form} comes as a whole; the last event of verbose_json has it"
        )
    target = fields.get("to_language", "")
    if fields.get("target_language", target) != target and target:
        raise _bad("target_language", "to_language and target_language are one field; give one")
    try:
        temperature = float(fields.get("temperature") or 0)
    except ValueError:
        temperature = -1.0
    if temperature != 0.0:
        raise _bad("temperature", "temperature: the search is deterministic; it can only be 0")
    words = False
    for name in ("timestamp_granularities[]", "timestamp_granularities"):
        given = set(fields.get(name, "segment").split(","))
        if not given <= {"segment", "word"}:
            raise _bad(name, f"{name}: must be segment or word")
        words = words or "word" in given
        if words and form != "verbose_json":
            raise _bad(name, f"{name}: only verbose_json has times of words")
    for name in ("include[]", "include"):
        if fields.get(name):
            raise _bad(name, f"{name}: not supported; verbose_json has avg_logprob")
    return Wishes(
        model=fields.get("model", ""),
        language=fields.get("language", ""),
        target=target or fields.get("target_language", ""),
        context=fields.get("prompt", ""),
        words=words,
        response_format=form,
        stream=streams,
    )


async def read_form(
    receive: Receive, headers: Any, form: Form, spool: Spool, settings: Settings
) -> None:
    """Read a request's body; its file never lies in memory.

    Args:
        receive: of ASGI.
        headers: of the request.
        form: filled; whatever is raised, its file is the caller's to remove.

    Raises:
        ApiError: 400, 408, 413 or 415. Gone: the client hung up.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(
            415,
            "send the file as multipart/form-data (curl -F file=@talk.mp3)",
            "unsupported_media",
        )
    length = headers.get("content-length", "")
    if length.isdigit() and len(length) < 19 and int(length) > settings.max_upload + _BESIDE:
        raise _too_large(settings)
    start, size = time.monotonic(), 0
    with _Reader(options[b"boundary"], form, spool, settings) as reader:
        more = True
        while more:
            spent = time.monotonic() - start
            slowest = settings.idle_timeout + size / _SLOWEST
            wait = min(settings.idle_timeout, min(settings.request_timeout, slowest) - spent)
            try:
                message = await asyncio.wait_for(receive(), max(0.0, wait))
            except asyncio.TimeoutError:
                raise ApiError(408, "the rest of the request did not come", "timeout") from None
            if message["type"] == "http.disconnect":
                raise Gone
            body = message.get("body", b"")
            size += len(body)
            if size > settings.max_upload + _BESIDE:
                raise _too_large(settings)
            reader.write(body)
            more = message.get("more_body", False)
        reader.finish()
    if form.path is None:
        raise _bad("file", "file: is missing")


async def drain(receive: Receive) -> None:
    """Read what is still coming in, for a while: a client that sends does not see the answer."""

    async def read() -> None:
        while (message := await receive())["type"] == "http.request":
            if not message.get("more_body", False):
                return

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), _DRAIN_SECONDS)


class _Reader:
    """Puts the parts of a body where they belong."""

    def __init__(self, boundary: bytes, form: Form, spool: Spool, settings: Settings):
        self.form, self.spool, self.settings = form, spool, settings
        self.parts = self.beside = self.size = 0
        self.ended = False
        self.header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self.headers: dict[str, bytes] = {}
        self.name = ""
        self.value = bytearray()
        self.file: IO[bytes] | None = None
        try:
            self.parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self.on_part_begin,
                    "on_header_field": lambda data, i, j: self.header[0].extend(data[i:j]),
                    "on_header_value": lambda data, i, j: self.header[1].extend(data[i:j]),
                    "on_header_end": self.on_header_end,
                    "on_headers_finished": self.on_headers_finished,
                    "on_part_data": self.on_part_data,
                    "on_part_end": self.on_part_end,
                    "on_end": self.on_end,
                },
            )
        except FormParserError as error:
            raise ApiError(400, f"not multipart/form-data: {error}", "bad_form") from None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # what it could not write has been told
                self.file.close()

    def write(self, body: bytes) -> None:
        try:
            self.parser.write(body)
        except FormParserError as error:
            raise ApiError(400, f"not multipart/form-data: {error}", "bad_form") from None
        except OSError as error:
            logging.error("an upload cannot be written: %s", error)
            said = f"the server cannot keep the file: {error.strerror}"
            raise ApiError(503, said, "no_space") from None

    def finish(self) -> None:
        if not self.ended:
            raise ApiError(400, "the request ends within a part", "bad_form")

    def on_part_begin(self) -> None:
        self.parts += 1
        if self.parts > _MOST:
            raise ApiError(400, f"more than {_MOST} fields", "bad_form")
        self.headers, self.name, self.value = {}, "", bytearray()

    def on_header_end(self) -> None:
        name, value = self.header
        self.headers[name.decode("latin-1").lower()] = bytes(value)
        self.header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        kind, options = parse_options_header(self.headers.get("content-disposition", b""))
        self.name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not self.name:
            raise ApiError(400, "a part without a name", "bad_form")
        if self.name == "file":
            if self.form.path is not None:
                raise _bad("file", "file: more than one; send a request for each")
            self.form.filename = options.get(b"filename", b"").decode("utf-8", "replace")
            suffix = Path(self.form.filename.replace("\0", "")).suffix.lower()
            self.form.path = self.spool.new(suffix if suffix in AUDIO_SUFFIXES else "")
            self.file = self.form.path.open("xb", buffering=MEGABYTE)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.file is not None:
            self.size += end - start
            if self.size > self.settings.max_upload:
                raise _too_large(self.settings)
            self.file.write(memoryview(data)[start:end])
            return
        self.value += data[start:end]
        self.beside += end - start
        if len(self.value) > LONGEST or self.beside > _BESIDE:
            raise _bad(self.name, f"{plain(self.name, 100)}: too long")

    def on_part_end(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            file.close()
            return
        value = self.value.decode("utf-8", "replace").strip()
        if self.name in self.form.fields:
            if not self.name.endswith("[]"):
                raise _bad(self.name, f"{plain(self.name, 100)}: given twice")
            value = f"{self.form.fields[self.name]},{value}"
        self.form.fields[self.name] = value

    def on_end(self) -> None:
        self.ended = True


def _too_large(settings: Settings) -> ApiError:
    return ApiError(
        413,
        f"the file is larger than {settings.max_upload_mb:g} MB, which is the limit",
        "too_large",
    )


def _bad(param: str, message: str) -> ApiError:
    return ApiError(400, message, "invalid_value", param)
