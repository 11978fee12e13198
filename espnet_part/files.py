"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside ``path``, and rename it to ``path`` when the block ends without an error.

    The data reach the disk before the name does, so a process killed at any instant leaves either
    the old file or the new one. Text is UTF-8. The directory is made when it is missing.

    The file beside it has a fixed name, so that the next writing replaces what a kill left there.
    A file may have one writer at a time.

    Raises:
        OSError: it cannot be written; has the name of the file.
        ValueError: for a mode other than "w" and "wb".
    """
    if mode not in ("w", "wb"):
        raise ValueError(f'mode must be "w" or "wb": {mode!r}')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open(mode, encoding=None if mode == "wb" else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        # a failed write does not say of which file, and nobody knows the name beside it
        if error.filename == str(aside) or (error.filename is None and is_disk_full(error)):
            error.filename = str(path)
        aside.unlink(missing_ok=True)
        raise
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def is_directory(name: str | Path) -> bool:
    """Whether there is such a directory; there is none of a name that no file can have."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long, or with a NUL in it
        return False


def is_regular(name: str | Path) -> bool:
    """Whether there is such a file; there is none of a name that no file can have."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def sync_directory(directory: Path) -> None:
    """Make a rename inside ``directory`` survive a power cut."""
    _sync(directory)


def sync_file(path: Path) -> None:
    """Make what was written to a file survive a power cut."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)  # fsync itself knows no name
        raise
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` says that there is no space left, or no more is allowed to this user."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch and safetensors wrap the system's error in their own types
    return "No space left on device" in str(error) or "os error 28" in str(error)


def apply_umask(path: Path) -> None:
    """Give a file the rights of any new file: safetensors makes its files for their owner alone."""
    # the umask can only be read by setting it, which other threads that make files would notice
    other = path.with_name(f".{path.name}.new")
    other.touch()
    path.chmod(stat.S_IMODE(other.stat().st_mode))
    other.unlink()
