"""A notice that a training is to end and to go on later, heeded at the next border between two steps.

SIGUSR1 says that the time is nearly up: Slurm sends it some time before a job's limit
(``--signal=B:USR1@120``). SIGTERM comes without a warning before it: when Slurm takes a job's place for
another one (preemption: to the steps at once where there is a GraceTime, and to all processes KillWait
before SIGKILL), when a cloud takes the machine back, from `kill`. Both do the same. Whether the job comes
back is not for the training to decide: its exit status says that it can go on, and the job's script
(`espnet_part.launch.slurm_script`) asks Slurm what is to become of the job, since what the user has ended
by scancel must not come back. Ctrl-C (SIGINT) ends the training at once.

All processes of a job may get SIGTERM, those that load data, too. A loading process ends by that of its
parent alone, or the training would lose its data in the middle of a step.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from espnet_part.errors import AGAIN, UserError

Handler = Callable[[int, Any], Any] | signal.Handlers


class Stopped(UserError):
    """The training has ended before its schedule has, with a checkpoint."""

    status = AGAIN


class Notice:
    """Whether the notice has come to this process, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._is_awaited = False

    @property
    def came(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Remember the signal in the block; only the main thread may."""
        parent = os.getpid()

        def note(number: int, frame: object) -> None:
            self.signal = signal.Signals(number)

        def spare_child() -> None:
            if self._is_awaited and os.getppid() == parent:
                _heed_parent_alone(parent)

        os.register_at_fork(after_in_child=spare_child)
        self._is_awaited = True
        try:
            with handled(note, note):
                yield
        finally:
            self._is_awaited = False


@contextlib.contextmanager
def handled(usr1: Handler, term: Handler) -> Iterator[None]:
    """Let the two signals do something else while the block runs."""
    handlers = {signal.SIGUSR1: usr1, signal.SIGTERM: term}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def unheeded() -> AbstractContextManager[None]:
    """Before the first step there is nothing to keep: SIGUSR1 is ignored, and SIGTERM ends the process."""
    return handled(signal.SIG_IGN, _end)


def leave(status: int) -> NoReturn:
    """End this process with a status that nothing can change any more.

    While Python takes itself down, threads of libraries abort the process ("terminate called without an
    active exception", seen of two processes of which one was told to stop), and SIGTERM kills it, which srun
    sends to the others of a step when the first one has ended. A training that goes on would count as failed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    atexit._run_exitfuncs()  # loggers, loading processes, trackers of experiments
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    os._exit(status)


def _end(number: int, frame: object) -> None:
    if multiprocessing.parent_process() is None:  # one process says it
        os.write(2, b"part_train: stopped by SIGTERM beside its steps: started again, it goes on\n")
    sys.exit(AGAIN)


def _heed_parent_alone(parent: int) -> None:
    """Let this process end by SIGTERM of its parent, as multiprocessing ends it, and of nobody else."""

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
