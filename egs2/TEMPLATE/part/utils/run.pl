#!/usr/bin/env python3
"""Run a command, or an array of them, on this machine, each with a log file.

Takes the command line of Kaldi's run.pl, which is also why it has that name: espnet2.bin.launch
chooses what to do by the launcher's name.

    run.pl [--gpu N] [--num_threads N] [--mem SIZE] [--max-jobs-run N] [JOB=1:N] LOG COMMAND ...

JOB in LOG and COMMAND is replaced by the job's number. The words of COMMAND reach the program as
they are; only a word that is a shell operator by itself (| || && ; > >> < 2>&1) is left to the
shell. Exit status: the number of failed jobs (at most 254).

With --gpu N, as many jobs run at once as there are N GPUs for, each with its own
CUDA_VISIBLE_DEVICES. --mem, --time and other scheduler's options are accepted and not used.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

from espnet_part.launch.command_line import MOST_FAILURES, UsageError, parse, shell_line

# a job ends when this process does, even by SIGKILL
LEASH = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
running: set[subprocess.Popen[bytes]] = set()
lock = threading.Lock()
stopping = threading.Event()


def fail(message: str) -> NoReturn:
    print(f"run.pl: error: {message}", file=sys.stderr)
    sys.exit(255)


def visible_gpus() -> list[str]:
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [device for device in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if device]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i, line in enumerate(listing.stdout.splitlines()) if line.startswith("GPU")]


def run_one(line: str, log: Path, threads: int, devices: list[str] | None) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    started = time.time()
    log.write_text(f"# {line}\n# Started at {time.ctime(started)}\n#\n", encoding="utf-8")
    with log.open("ab") as out:
        with lock:
            if stopping.is_set():
                return 143
            job = subprocess.Popen(
                [*LEASH, "bash", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            running.add(job)
        code = job.wait()
        with lock:
            running.discard(job)
        if code < 0:  # killed by a signal: what a shell says
            code = 128 - code
    seconds = round(time.time() - started)
    with log.open("ab") as out:
        out.write(
            f"# Accounting: time={seconds} threads={threads}\n"
            f"# Ended (code {code}) at {time.ctime()}, elapsed time {seconds} seconds\n".encode()
        )
    return code


def stop(signum: int, frame: object) -> None:
    stopping.set()
    for job in list(running):
        job.terminate()
    # what the jobs themselves started hears of it too when this process leads their group
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    sys.exit(128 + signum)


def main() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if words else 255)
    try:
        launch = parse(words, "run.pl")
        threads = launch.number("num_threads", 1)
        at_once = launch.number("max_jobs_run", len(launch.jobs))
        gpus_each = launch.number("gpu", 0)
    except UsageError as error:
        fail(str(error))
    jobs = launch.jobs

    slots: list[list[str] | None] = [None] * max(1, min(at_once, len(jobs)))
    if gpus_each > 0:
        gpus = visible_gpus()
        sets = [gpus[i : i + gpus_each] for i in range(0, len(gpus) - gpus_each + 1, gpus_each)]
        # with too few GPUs the job itself says so, better than this could
        slots = list(sets[: len(slots)]) if sets else [None]

    free: SimpleQueue[list[str] | None] = SimpleQueue()
    for slot in slots:
        free.put(slot)
    codes: dict[int, int] = {}

    def work(job: int, slot: list[str] | None) -> None:
        try:
            line = shell_line([launch.fill(word, job) for word in launch.command])
            codes[job] = run_one(line, Path(launch.fill(launch.log, job)), threads, slot)
        except OSError as error:
            print(f"run.pl: error: job {job}: {error}", file=sys.stderr)
            codes[job] = 1
        finally:
            free.put(slot)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    workers = []
    for job in jobs:
        slot = free.get()
        worker = threading.Thread(target=work, args=(job, slot), daemon=True)
        worker.start()
        workers.append(worker)
    for worker in workers:
        worker.join()

    failed = sorted(job for job, code in codes.items() if code != 0)
    if failed:
        print(f"run.pl: {launch.failure(failed)}", file=sys.stderr)
        sys.exit(min(len(failed), MOST_FAILURES))


if __name__ == "__main__":
    main()
