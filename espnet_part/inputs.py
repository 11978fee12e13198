"""Files that somebody else made: whatever is wrong with one becomes a reason in words.

A file may be missing, a pipe that never ends, on a disk that fails, or damaged in a way that a decoder
answers with an exception of its own. Every reader opens and decodes inside `bad_input`, so that the
item is named and left out, or the command ends in one line.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from espnet_part.errors import DataError, UserError

#: The process has run out of something; the file is not to blame, and the next one would fail too.
_NOT_THE_FILE = {
    errno.EMFILE: "too many open files; raise the limit (ulimit -n 4096) or use fewer processes",
    errno.ENFILE: "the machine has too many open files",
}


@contextmanager
def bad_input(
    kind: type[Exception] = DataError, where: str | os.PathLike[str] = ""
) -> Iterator[None]:
    """Turn whatever is raised by opening or decoding foreign bytes into one kind of error.

    Decoders raise what their parts raise (struct.error, zlib.error, RuntimeError, AssertionError,
    OverflowError, …), so everything counts that Python derives from `Exception`. Keep the block
    small: an error of our own inside it would pass for one of the file's.

    Args:
        kind: what is raised, with the reason as its message. Errors of this kind and a `UserError`
            pass through as they are.
        where: stands before the reason.

    Raises:
        UserError: this process cannot open any file, good or bad.
    """
    try:
        yield
    except (kind, UserError):
        raise
    except Exception as error:
        place = f"{os.fspath(where)}: " if where else ""
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILE:
            raise UserError(f"{place}{_NOT_THE_FILE[error.errno]}") from None
        raise kind(f"{place}{reason(error)}") from None


def open_input(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading; a pipe or a device does not make us wait.

    Raises:
        OSError: no such file, no permission, or not a regular file.
    """
    # without O_NONBLOCK the opening of a named pipe would wait for its writer
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory, not a file")
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file (a pipe, a socket or a device)")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def reason(error: BaseException) -> str:
    """What went wrong, in one line without the file's name."""
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start + 1}"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = " ".join(str(getattr(error, "error_string", "") or error).split())
    return said[:300] or type(error).__name__


def read_text(path: str | os.PathLike[str], largest: int = 1 << 30) -> str:
    """Read a UTF-8 file, without the byte-order mark that it may begin with.

    Args:
        largest: a file of more bytes is refused before it fills the memory.

    Raises:
        DataError: it cannot be read, or is too large.
    """
    with bad_input(DataError, path), open_input(path) as file:
        content = file.read(largest + 1)
        if len(content) > largest:
            raise ValueError(f"larger than {largest} bytes")
        return content.decode("utf-8-sig")
