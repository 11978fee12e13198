"""One recipe at a time where two would harm each other.

Data and what is made of them once for all experiments are written under an exclusive lock and read
under a shared one: two experiments of a recipe train side by side, the data do not change under them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from espnet_part.errors import UserError
from espnet_part.lock import locked

#: Seconds in which what a killed recipe has started comes to its end.
LEFT_BEHIND = 30.0
Say = Callable[[str], None]


@contextmanager
def experiment_lock(path: Path, what: str) -> Iterator[int]:
    """Hold the lock of an experiment; what a killed run left behind is waited for.

    Raises:
        UserError: another run is at work there; names its pid and the mend.
    """
    with ExitStack() as stack:
        deadline = time.monotonic() + LEFT_BEHIND
        while True:
            try:
                descriptor = stack.enter_context(locked(path, what))
                break
            except UserError:
                if not _left_behind(path) or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)
        yield descriptor


@contextmanager
def writing(path: Path, what: str, say: Say) -> Iterator[int]:
    """Hold the lock ``path`` alone, in order to change ``what``; wait for another that does.

    Raises:
        UserError: it is being read, by a training for instance.
    """
    with _waiting(path, what, say, shared=False) as descriptor:
        yield descriptor


@contextmanager
def reading(path: Path, what: str, say: Say) -> Iterator[int]:
    """Hold the lock ``path`` beside other readers; wait for one that changes ``what``."""
    with _waiting(path, what, say, shared=True) as descriptor:
        yield descriptor


@contextmanager
def _waiting(path: Path, what: str, say: Say, shared: bool) -> Iterator[int]:
    said = False
    with ExitStack() as stack:
        while True:
            try:
                descriptor = stack.enter_context(locked(path, what, shared=shared))
                break
            except UserError as error:
                if not shared and _is_read(path, what) and not _left_behind(path):
                    raise
                if not said:
                    say(f"waiting: {error}")
                    said = True
            time.sleep(0.5)
        yield descriptor


def _is_read(path: Path, what: str) -> bool:
    try:
        with locked(path, what, shared=True, announce=False):
            return True
    except UserError:
        return False


def _left_behind(path: Path) -> bool:
    """Whether the process that took the lock is gone from this machine, and its jobs are ending.

    One that is dead and has not been waited for is gone, too: whoever inherits it, the first process of
    a container say, may never do that.
    """
    try:
        pid, host = path.read_text(encoding="utf-8").split()[:2]
        if host != socket.gethostname():
            return False
        state = Path(f"/proc/{int(pid)}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, ValueError, IndexError):
        return False
    return state in (b"Z", b"X")
