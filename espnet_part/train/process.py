"""The process that trains: its lock, its limits, and errors of the system in one line."""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from espnet2.train.distributed_utils import DistributedOption
from espnet2.utils.build_dataclass import build_dataclass
from torch.multiprocessing.spawn import ProcessExitedException

from espnet_part.errors import AGAIN, DataError
from espnet_part.files import is_disk_full
from espnet_part.lock import locked
from espnet_part.train import notice
from espnet_part.train.parallel import node

FEW_FILES = 1024  # the usual limit; loading processes may need several hundred descriptors


@contextlib.contextmanager
def prepared(args: argparse.Namespace) -> Iterator[None]:
    """Hold the lock of the output directory (the main process), and set what a process has.

    Raises:
        UserError: another training is at work there.
        DataError: no space is left on the disk.
    """
    os.environ.setdefault("NCCL_DEBUG", "WARN")  # ESPnet's INFO fills the log
    _allow_many_files()
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    logging.raiseExceptions = False  # a log that cannot be written must not fill it with tracebacks
    logging.getLogger().addFilter(_says_something)
    threading.excepthook = _say_thread  # TensorBoard writes in one
    sys.unraisablehook = _say_unraisable  # and leaves files that cannot be closed
    directory = Path(args.output_dir)
    config = directory / "config.yaml"
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(notice.unheeded())
            if _is_main(args):
                what = f"the training in {directory}"
                descriptor = stack.enter_context(locked(directory / ".lock", what))
                # loading processes outlive a killed training for seconds, and must not hold it
                holder = os.getpid()
                os.register_at_fork(
                    after_in_child=lambda: _close(descriptor) if os.getppid() == holder else None
                )
            before = config.read_bytes() if config.is_file() else None
            try:
                yield
            except BaseException:
                # ESPnet writes this file in place
                if before is not None and not config.stat().st_size and _is_main(args):
                    config.write_bytes(before)
                raise
    except Exception as error:
        if is_disk_full(error):
            raise DataError(
                f"{directory}: no space left on the disk; the checkpoints there are whole: free some "
                "space and resume"
            ) from None
        raise
    finally:
        logging.getLogger().removeFilter(_says_something)


@contextlib.contextmanager
def parent_of_ranks() -> Iterator[None]:
    """What the process does that starts one a GPU: it passes a notice on, and ends as they do.

    Raises:
        DataError: one of them was killed.
    """

    told: set[int] = set()

    def pass_on(number: int, frame: object) -> None:
        told.add(number)
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    try:
        with notice.handled(pass_on, pass_on):
            yield
    except ProcessExitedException as error:
        if error.signal_name == "SIGTERM" and signal.SIGTERM in told:  # before it could heed it
            sys.exit(AGAIN)
        if error.signal_name is None:  # it has said itself what is wrong
            sys.exit(error.exit_code)
        raise DataError(
            f"process {error.error_index} on {node()} was ended by {error.signal_name}"
            + ("; often for lack of memory" if error.signal_name == "SIGKILL" else "")
        ) from None


def _is_main(args: argparse.Namespace) -> bool:
    option = build_dataclass(DistributedOption, copy.copy(args))
    option.init_options()
    return not option.distributed or option.dist_rank == 0


def _allow_many_files() -> None:
    """Raise the limit of open files; where that is low, share tensors by name instead."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    allowed = 1 << 16 if unlimited else min(hard, 1 << 16)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < FEW_FILES:
        torch.multiprocessing.set_sharing_strategy("file_system")


def _says_something(record: logging.LogRecord) -> bool:
    """Leave out the scheduler that ESPnet makes and that no phase uses."""
    return not (record.module == "abs_task" and str(record.msg).startswith("Scheduler"))


def _say_thread(said: threading.ExceptHookArgs) -> None:
    if said.exc_value is None or not is_disk_full(said.exc_value):
        threading.__excepthook__(said)


def _say_unraisable(said: sys.UnraisableHookArgs) -> None:
    if said.exc_value is None or not is_disk_full(said.exc_value):
        sys.__unraisablehook__(said)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
