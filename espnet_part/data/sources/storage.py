"""Files on this machine's disks and elsewhere, and parts of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from espnet_part.data.headers import Patched
from espnet_part.data.sources.remote import RemoteFile, is_url, without_secrets
from espnet_part.inputs import open_input

__all__ = ["cut", "is_url", "open_file", "state", "without_secrets"]

#: A part up to this size is read at once: one request to an object store, one read of a disk.
_AT_ONCE = 8 << 20
_BUFFER = 1 << 20


@contextlib.contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Open a file or a URL; nothing of it is read until it is asked for.

    Raises:
        OSError: see `open_input`.
        ValueError: a URL that is not read here.
    """
    if is_url(path):
        yield cast(BinaryIO, RemoteFile(path))
    else:
        with open_input(path) as file:
            yield file


def cut(file: BinaryIO, start: int, size: int) -> BinaryIO:
    """A part of a file as a file of its own; ``file`` must stay open while it is used.

    Raises:
        ValueError: the file ends before the part does.
    """
    present = max(0, min(size, file.seek(0, io.SEEK_END) - start))
    if present < size:
        raise ValueError(f"truncated: {present} of {size} bytes")
    if size > _AT_ONCE:
        return io.BufferedReader(Patched(b"", file, start, size), _BUFFER)
    file.seek(start)
    content = file.read(size)
    if len(content) < size:
        raise ValueError(f"truncated: {len(content)} of {size} bytes")
    return io.BytesIO(content)


def state(path: str) -> str:
    """Size and time of change of a file on this machine."""
    if is_url(path):
        return "remote"
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"
