"""A notice that a training's time is nearly up: SIGUSR1, heeded at the next border between two steps.

Slurm sends it some time before a job's limit, or before another job takes its place
(``--signal=B:USR1@120``); anybody may, with `kill -USR1`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from espnet_part.errors import AGAIN, UserError


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

        before = signal.signal(signal.SIGUSR1, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGUSR1, before)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Before the first step there is nothing to keep, and the signal would kill."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
