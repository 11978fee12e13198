"""Runs `part_train` in processes of their own, to kill them at will and to let them work together."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# The server imports ESPnet once, does no arithmetic, and forks each run from itself.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["espnet_part.task", "transformers.models.whisper.modeling_whisper"])

Kill = tuple[str, int]  # the function that is interrupted, and at which of its calls


def part_train(
    cmd: Sequence[str],
    log: Path,
    *,
    kill: Kill | None = None,
    notice: Kill | None = None,
    terminate: Kill | None = None,
    hang: tuple[Kill, float] | None = None,
    kill_after: float | None = None,
    world: int = 1,
    count_text_only: bool = False,
    last_rank: Sequence[str] = (),
    record_heard: Path | None = None,
    kill_rank: int | None = None,
    limit: tuple[int, tuple[int, int]] | None = None,
    make_up_faults: bool = False,
) -> int:
    """Run to the end or to death; returns the exit status (negative for a signal).

    Args:
        kill: SIGKILL before the n-th call of a function, given as "module:name".
        notice: The same with SIGUSR1.
        terminate: The same with SIGTERM, which its loading processes get, too, as from Slurm.
        hang: The thread stands still before the n-th call, and for so many seconds; a signal waits until
            it does.
        kill_after: SIGKILL after this many seconds.
        world: Processes, joined through gloo.
        record_heard: A file for the ids of the utterances of all training steps.
        kill_rank: The one of the processes that gets the signal; by default each of them.
        limit: For `resource.setrlimit`.
        make_up_faults: Every thirteenth step or so has one, which depends on its loss.
        last_rank: More arguments for the last of the processes alone.
        count_text_only: Write to the log which of a process's batches had no speech.
    """
    rendezvous = log.with_name(f"{log.name}.{time.time_ns()}.rendezvous")
    processes = []
    for rank in range(world):
        more = () if world == 1 else _distributed(rank, world, rendezvous)
        is_meant = kill_rank in (None, rank)
        signals: dict[signal.Signals, Kill | None] = {}
        if is_meant:
            signals = {signal.SIGKILL: kill, signal.SIGUSR1: notice, signal.SIGTERM: terminate}
        hangs = hang if is_meant else None
        own = last_rank if rank == world - 1 else ()
        process = CONTEXT.Process(
            target=_child,
            args=(
                [*cmd, *more, *own],
                str(log),
                signals,
                hangs,
                count_text_only,
                record_heard,
                limit,
                make_up_faults,
            ),
        )
        process.start()
        processes.append(process)
    if kill_after is not None:
        processes[0].join(kill_after)
        for process in processes:
            process.kill()
    statuses = []
    for process in processes:
        process.join(timeout=600)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"a process hangs: {log.read_text(encoding='utf-8')[-3000:]}")
        statuses.append(process.exitcode)
    return next((status for status in statuses if status), 0)


def _distributed(rank: int, world: int, rendezvous: Path) -> Sequence[str]:
    return (
        *("--dist_world_size", str(world), "--dist_rank", str(rank), "--dist_backend", "gloo"),
        *("--dist_init_method", f"file://{rendezvous}", "--multiprocessing_distributed", "false"),
    )


def _child(
    cmd: list[str],
    log: str,
    signals: dict[signal.Signals, Kill | None],
    hang: tuple[Kill, float] | None,
    count_text_only: bool,
    record: Path | None,
    limit: tuple[int, tuple[int, int]] | None,
    make_up_faults: bool,
) -> None:
    if limit is not None:
        import resource

        resource.setrlimit(*limit)
    sys.stdout.flush()  # what the server printed while it imported is not the run's
    with Path(log).open("a", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    stands_still = threading.Event()
    for number, when in signals.items():
        if when is not None:
            waits_for = None if hang is None else stands_still
            _arm(*when, functools.partial(_signal, number, waits_for))
    if hang is not None:
        _arm(*hang[0], functools.partial(_stand_still, stands_still, hang[1]))
    from espnet_part.bin import part_train as command

    if record is not None:
        _record_steps(record)
    if make_up_faults:
        from espnet_part.train.outliers import Outliers

        Outliers.fault = _made_up_fault  # type: ignore[method-assign]
    sys.argv = ["part_train", *cmd]
    seen = _watch_batches() if count_text_only else []
    command.main(cmd)
    if count_text_only:
        print(f"text only: {seen}", flush=True)


def _watch_batches() -> list[bool]:
    from espnet_part.train import step

    seen: list[bool] = []
    original = step.to_device

    def to_device(batch: Any, device: Any) -> Any:
        seen.append("speech" not in batch)
        return original(batch, device)

    step.to_device = to_device
    return seen


def _record_steps(file: Path) -> None:
    from espnet_part.train import trainer

    original = trainer.train_step

    def train_step(module: Any, batches: Any, *args: Any, **options: Any) -> Any:
        with file.open("a", encoding="utf-8") as out:
            out.writelines(f"{utt}\n" for batch in batches for utt in batch["utt_ids"])
        return original(module, batches, *args, **options)

    trainer.train_step = train_step  # type: ignore[assignment]


def _signal(number: signal.Signals, waits_for: threading.Event | None) -> None:
    if waits_for is not None:
        waits_for.wait(60)
    if number == signal.SIGTERM:
        pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        subprocess.run(["kill", "-TERM", *map(str, pids)], check=True)
    else:
        os.kill(os.getpid(), number)


def _stand_still(begun: threading.Event, seconds: float) -> None:
    begun.set()
    time.sleep(seconds)


def _made_up_fault(self: Any, loss: float, grad_norm: float) -> str | None:
    return None if int(loss * 1e6) % 13 else "it is made up"


def _arm(target: str, call: int, happens: Callable[[], None]) -> None:
    """Let something happen before the n-th call of a function."""
    import importlib

    module_name, name = target.split(":")
    owner: Any = importlib.import_module(module_name)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = 0

    def armed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            happens()
        return original(*args, **kwargs)

    setattr(owner, name, armed)
