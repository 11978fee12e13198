"""One process at a time: a lock on a file, held by the process that works and by what it starts."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet_part.errors import UserError


@contextmanager
def locked(
    path: str | Path, what: str, *, shared: bool = False, announce: bool = True
) -> Iterator[int]:
    """Hold the lock ``path`` while the block runs.

    The kernel lets go of it when the last process that holds its descriptor ends, however it ends.
    The file itself stays: removing it would let two processes hold locks of one name. It says who
    holds it.

    Args:
        path: the lock's file; its directory is made when it is missing.
        what: what is locked, for the message, such as "the training in exp/part/stage1".
        shared: beside others that share it; the lock keeps out who wants it alone.
        announce: write into the file who holds it.

    Yields:
        The descriptor, for `subprocess.Popen(pass_fds=...)` of a child that goes on with the work.

    Raises:
        UserError: another process holds it; names its pid and host, and what can be done.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", "replace").split()
            who, mend = "", ""
            if holder:
                who = f" (pid and host: {' '.join(holder)})"
                mend = f", or stop it with: kill {holder[0]}"
            raise UserError(
                f"{what}: another process is at work there{who}; wait for it{mend}"
            ) from None
        if announce:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
