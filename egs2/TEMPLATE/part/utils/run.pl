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
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

OPERATORS = {"|", "||", "&&", ";", ">", ">>", "<", "2>", "2>>", "2>&1"}
# a job ends when this process does, even by SIGKILL
LEASH = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
running: set[subprocess.Popen[bytes]] = set()
lock = threading.Lock()
stopping = threading.Event()


def fail(message: str) -> NoReturn:
    print(f"run.pl: error: {message}", file=sys.stderr)
    sys.exit(255)


def parse(words: list[str]) -> tuple[dict[str, str], str | None, range, str, list[str]]:
    options: dict[str, str] = {}
    name, jobs = None, range(1, 2)
    while words and (words[0].startswith("-") or re.fullmatch(r"[A-Za-z_]\w*=\d[\d:]*", words[0])):
        word = words.pop(0)
        if word.startswith("-"):
            if not words:
                fail(f"the option {word} needs a value")
            options[word.lstrip("-").replace("-", "_")] = words.pop(0)
            continue
        match = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", word)
        if not match:
            fail(f"bad job range {word}: must be JOB=1:N")
        name, first = match[1], int(match[2])
        jobs = range(first, int(match[3] or first) + 1)
        if not jobs:
            fail(f"bad job range {word}: the end lies before the start")
    if len(words) < 2:
        fail("usage: run.pl [options] [JOB=1:N] LOG COMMAND ...")
    if name is not None and name not in words[0] and len(jobs) > 1:
        fail(f"the log file must hold {name}, or {len(jobs)} jobs would share it: {words[0]}")
    return options, name, jobs, words[0], words[1:]


def number(options: dict[str, str], *names: str, default: int) -> int:
    for name in names:
        if name in options:
            try:
                return int(options[name])
            except ValueError:
                fail(f"--{name} must be a number: {options[name]}")
    return default


def visible_gpus() -> list[str]:
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [device for device in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if device]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i, line in enumerate(listing.stdout.splitlines()) if line.startswith("GPU")]


def shell_line(command: list[str]) -> str:
    return " ".join(word if word in OPERATORS else shlex.quote(word) for word in command)


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
    options, name, jobs, log, command = parse(words)
    threads = number(options, "num_threads", default=1)
    at_once = number(options, "max_jobs_run", default=len(jobs))
    gpus_each = number(options, "gpu", default=0)

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
        def fill(text: str) -> str:
            return text if name is None else text.replace(name, str(job))

        try:
            line = shell_line([fill(word) for word in command])
            codes[job] = run_one(line, Path(fill(log)), threads, slot)
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
        first = log if name is None else log.replace(name, str(failed[0]))
        if len(jobs) == 1:
            print(f"run.pl: job failed, log is in {first}", file=sys.stderr)
        else:
            where = log if name is None else log.replace(name, "*")
            print(
                f"run.pl: {len(failed)} / {len(jobs)} failed, log is in {where}"
                f" (failed: {', '.join(map(str, failed[:20]))}; first {first})",
                file=sys.stderr,
            )
        sys.exit(min(len(failed), 254))


if __name__ == "__main__":
    main()
