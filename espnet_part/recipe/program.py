"""A recipe script as a program: its errors in one line, and its end on every signal."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from espnet_part.errors import AGAIN, UserError
from espnet_part.launch.slurm_client import SlurmError, cancel
from espnet_part.recipe.options import is_cluster
from espnet_part.recipe.stages import Runner

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1


class _Stopped(BaseException):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_program(script: str, main: Callable[[Callable[[Runner], None]], None]) -> NoReturn:
    """Run ``main`` as the program that ``script`` has become.

    SIGINT, SIGTERM and SIGHUP end what it has started here, and say how to go on; a job of Slurm goes on,
    unless the user who typed Ctrl-C in a terminal ends it, too, when asked. So does the end of the script
    that called it, by SIGKILL too; and SIGUSR1, by which a cluster says that the time of a job is
    nearly up, with the status of what goes on when it is started again.

    Args:
        main: is given a function, which it calls with its runner as soon as there is one.
    """
    runners: list[Runner] = []
    started = time.monotonic()

    def stop(number: int, frame: object) -> NoReturn:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise _Stopped(number)

    for number in _SIGNALS:
        # nohup's choice is kept; an ignored SIGINT is a background job's and never meant
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    _follow_parent()
    try:
        main(runners.append)
    except _Stopped as stopped:
        sys.stdout.flush()
        where = ""
        if runners and runners[0].current is not None:
            stage = runners[0].current
            where = f" in stage {stage.number} ({stage.name})"
        name = signal.Signals(stopped.number).name
        if runners:
            print(
                f"{script}: stopped by {name}{where}, and what it had started here; the same command goes "
                "on from here",
                file=sys.stderr,
            )
            _hint_at_cluster(runners[0], asks=stopped.number == signal.SIGINT)
        sys.exit(AGAIN if stopped.number == signal.SIGUSR1 else 128 + stopped.number)
    except UserError as error:
        sys.stdout.flush()
        for line in str(error).split("\n"):
            print(f"{script}: error: {line}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `./run.sh | head`
        sys.stderr.close()
        os._exit(1)
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        sys.stdout.flush()
        print(f"{script}: error: {said}", file=sys.stderr)
        sys.exit(1)
    elapsed = round(time.monotonic() - started)
    if runners:
        runners[0].log(f"Successfully finished. [elapsed={elapsed}s]")
    sys.exit(0)


def _hint_at_cluster(runner: Runner, asks: bool) -> None:
    """Say what becomes of jobs that were handed to a cluster.

    Args:
        asks: whether the user may be asked to end them.
    """
    words = runner.options.launchers["cuda_cmd"]
    job = runner.jobs.on_slurm()
    if job is not None:
        print(
            f"job {job} goes on; the same command follows it, part_status shows it, and `scancel {job}` "
            "ends it",
            file=sys.stderr,
        )
        if asks and _agrees(f"end job {job} now? [y/N] "):
            try:
                cancel(job)
            except SlurmError as error:
                print(error, file=sys.stderr)
    elif is_cluster(words) and Path(words[0]).name != "slurm.pl":
        print(
            f"jobs that {words[0]} had handed to the cluster may run on: look for them there, and "
            "cancel them before you go on",
            file=sys.stderr,
        )


def _agrees(question: str) -> bool:
    """Whether a user at a terminal says yes; no where there is nobody to be asked."""
    if not sys.stderr.isatty():
        return False
    for number in _SIGNALS:  # Ctrl-C once more is an answer, too
        signal.signal(number, signal.SIG_DFL)
    try:
        with Path("/dev/tty").open(encoding="utf-8", errors="replace") as terminal:
            if os.tcgetpgrp(terminal.fileno()) != os.getpgrp():  # the shell has it
                return False
            print(question, end="", file=sys.stderr, flush=True)
            return terminal.readline().strip().lower() in ("y", "yes")
    except OSError:
        return False


def _follow_parent() -> None:
    """End, as by SIGTERM, when the script that called this program does.

    Only a script is followed: an interactive shell gives each command a process group of its own, and
    what it started with nohup outlives it.
    """
    parent = os.getppid()
    try:
        if parent <= 1 or os.getpgid(parent) != os.getpgrp():
            return
    except OSError:  # it belongs to somebody else, or has just ended
        return
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and _is_detached(parent):
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    except (OSError, AttributeError):  # not Linux
        return
    if os.getppid() != parent:  # it ended before the kernel knew
        os.kill(os.getpid(), signal.SIGTERM)


def _is_detached(parent: int) -> bool:
    """Whether the parent goes on without this program: nohup was typed for it alone."""
    try:
        status = Path(f"/proc/{parent}/status").read_text(encoding="ascii", errors="replace")
        ignored = next(
            line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")
        )
    except (OSError, StopIteration):
        return False
    return not int(ignored, 16) & 1 << (signal.SIGHUP - 1)
