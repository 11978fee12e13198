"""Files fetched over HTTP: resumed where they were cut, and taken only with the right checksum."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from espnet_part.errors import DataError
from espnet_part.files import sync_directory
from espnet_part.progress import open_bar

_BLOCK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 4
_LARGEST_PAGE = 64 << 20


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that somebody serves.

    Attributes:
        name: of the file, here and there.
        sha256: of its content.
        size: in bytes.
        find: gives the addresses to try, in this order; asked only when the file is not here.
    """

    name: str
    sha256: str
    size: int
    find: Callable[[], Sequence[str]]


def fetch(file: RemoteFile, directory: Path, wait: Callable[[float], None] = time.sleep) -> Path:
    """Return the path of a file in ``directory``, fetched when it is not there.

    A file is built as ``NAME.part`` and renamed when it is whole and right; what an interrupted call
    left of it is kept and gone on with.

    Args:
        wait: how to wait some seconds between tries.

    Raises:
        DataError: no address gives it; the content is not what was expected; a file that lies there
            already has another content (it is left alone).
    """
    path = directory / file.name
    if path.exists():
        if _sha256(path) != file.sha256:
            raise DataError(
                f"{path}: is not the file that is expected (its sha256 differs from {file.sha256}); "
                "move it away, and it is fetched again"
            )
        return path
    directory.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures: list[str] = []
    try:
        addresses = file.find()
    except DataError as error:
        addresses, failures = (), [str(error)]
    for url in addresses:
        failure = _try_address(url, part, file, wait)
        if failure is None:
            part.replace(path)
            sync_directory(directory)
            return path
        failures.append(f"{url}: {failure}")
    raise DataError(
        f"{file.name} cannot be fetched: {'; '.join(failures) or 'nobody has it'}. Fetch it "
        f"elsewhere and put it into {directory}"
    )


def _try_address(
    url: str, part: Path, file: RemoteFile, wait: Callable[[float], None]
) -> str | None:
    """Fetch from one address, again when it is cut; return why it failed, or None."""
    said = ""
    for attempt in range(_TRIES):
        if attempt:
            wait(2.0**attempt)
        try:
            _go_on(url, part, file)
        except urllib.error.HTTPError as error:
            said = _reason(error)
            if error.code < 500 and error.code not in (408, 429):
                return said
            continue
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename:
                raise  # of this machine's disk
            said = _reason(error)
            continue
        size = part.stat().st_size
        if size < file.size:
            said = f"cut at {size} of {file.size} bytes"
            continue
        if _sha256(part) == file.sha256:
            return None
        part.unlink()  # going on with it would never end well
        return f"gives another file (sha256 is not {file.sha256})"
    return said


def _go_on(url: str, part: Path, file: RemoteFile) -> None:
    """Append what is missing of a file, at most as much as it has."""
    begun = part.stat().st_size if part.exists() else 0
    if begun >= file.size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "espnet_part"})
    if begun:
        request.add_header("Range", f"bytes={begun}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        resumed = answer.status == 206
        if not resumed:
            begun = 0
        with (
            part.open("ab" if resumed else "wb") as out,
            open_bar(f"fetching {file.name}", file.size, "B", scale=True) as bar,
        ):
            bar.update(begun)
            left = file.size - begun
            while left and (block := answer.read(min(_BLOCK, left))):
                out.write(block)
                left -= len(block)
                bar.update(len(block))
            out.flush()
            os.fsync(out.fileno())


def find_on_pypi(project: str, name: str) -> list[str]:
    """The address of a file of a project on the package index that pip is set to use.

    Raises:
        DataError: the index cannot be reached or has no such file.
    """
    index = os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_INDEX_URL")
    page = f"{(index or 'https://pypi.org/simple').rstrip('/')}/{project}/"
    try:
        with urllib.request.urlopen(page, timeout=_TIMEOUT) as answer:
            content = answer.read(_LARGEST_PAGE).decode("utf-8", "replace")
            base = answer.geturl()
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{page}: {_reason(error)}") from None
    links = _Links()
    links.feed(content)
    for link in links.found:
        address = urllib.parse.urljoin(base, link)
        if Path(urllib.parse.urlsplit(address).path).name == name:
            return [urllib.parse.urldefrag(address).url]
    raise DataError(f"{page}: has no file {name}")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for key, value in attrs if key == "href" and value]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _reason(error: Any) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
