"""A notice that a training's time is nearly up: SIGUSR1, heeded at the next border between two steps.

Slurm sends it some time before a job's limit, or before another job takes its place
(``--signal=B:USR1@120``); anybody may, with `kill -USR1`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from espnet_part.errors import AGAIN, UserError

Handler = Callable[[int, Any], None] | signal.Handlers


class Stopped(UserError):
    """The training has ended before its schedule has, with a checkpoint."""

    status = AGAIN


class Notice:
    """Whether the notice has come to this process."""

    def __init__(self) -> None:
        self.came = False

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Remember the signal in the block; only the main thread may."""

        def note(number: int, frame: object) -> None:
            self.came = True

        with handled(note):
            yield


@contextlib.contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Let the signal do something else while the block runs."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def ignored() -> AbstractContextManager[None]:
    """Before the first step there is nothing to keep, and the signal would kill."""
    return handled(signal.SIG_IGN)
