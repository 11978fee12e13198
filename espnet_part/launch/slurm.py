"""slurm.pl: run.pl's command line on a Slurm cluster.

    slurm.pl [--kind cpu|decode|train|driver] [--gpu N] [--num_threads N] [--num_nodes N]
             [--mem SIZE] [--time LIMIT] [--name NAME] [--max-jobs-run N] [--detach true]
             [JOB=1:N] LOG COMMAND ...

Submits the command, or an array of them, waits for its end, and says on stderr where it stands and how it
ended. What a cluster wants to know (partition, account …) stands in conf/slurm.local.yaml; see
`espnet_part.launch.slurm_settings`. The words of COMMAND reach the program as they are; a word that is a
shell operator by itself (| || && ; > >> < 2>&1) is left to the shell. Exit status: the number of failed
jobs (at most 254).

A job of the kind decode, train or driver is told by SIGUSR1 that its time is nearly up, or by SIGTERM
that its place is taken; one that then ends with status 75 is put in the queue again, unless it was
cancelled, and goes on. A driver, which submits jobs itself, has all variables of the shell. With --detach
true a job is submitted and not waited for.

A job outlives its launcher. LOG.slurm says which job writes LOG: the same command typed again follows it
if it still waits or runs, and another command is refused until it has ended.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from espnet_part.errors import ConfigError, UserError
from espnet_part.launch.command_line import MOST_FAILURES, Launch, UsageError, exit_code, parse
from espnet_part.launch.slurm_client import (
    JobState,
    SlurmError,
    accounted,
    states,
    submit,
    writing,
)
from espnet_part.launch.slurm_script import forwarded, log_pattern, script
from espnet_part.launch.slurm_settings import GOING_ON, LOCAL, JobSettings, load_settings
from espnet_part.launch.submission import Submission

_PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds between two questions to the controller, at first and later."""
_MENDS = {
    "TIMEOUT": "its time limit: ask for more by `time` in {local}; typed again, it goes on",
    "OUT_OF_MEMORY": "ask for more by `mem` in {local}",
    "NODE_FAIL": "its node went down; typed again, it goes on",
    "PREEMPTED": "another job took its place; typed again, it goes on",
    "CANCELLED": "somebody, or the cluster, ended it",
    "DEADLINE": "its deadline",
    "BOOT_FAIL": "its node did not start",
}


def sbatch_options(
    launch: Launch, kind: str, settings: JobSettings, environment: Mapping[str, str]
) -> list[str]:
    """What sbatch is asked for.

    Raises:
        UsageError: an option that is no number.
    """
    gpus, nodes = launch.number("gpu", 0), launch.number("num_nodes", 1)
    threads = launch.number("num_threads", 1)
    given = launch.options
    options = settings.options(gpus)
    options += [f"--job-name={given.get('name') or Path(launch.log).stem}"]
    options += [f"--output={log_pattern(launch, Path.cwd())}", "--open-mode=append"]
    names = forwarded(environment, settings.forward)
    options += ["--export=ALL" if kind == "driver" else f"--export={','.join(names) or 'NONE'}"]
    options += [f"--nodes={nodes}", "--ntasks-per-node=1"]
    if gpus > 0:
        options += [f"--gres={settings.gres}:{gpus}"]
        threads = max(threads, gpus * settings.cpus_per_gpu)
    options += [f"--cpus-per-task={threads}"]
    if kind in GOING_ON and settings.warning:
        options += ["--requeue", f"--signal=B:USR1@{settings.warning}"]
    if "mem" in given:  # as Kaldi's launchers have it: of a CPU
        options += [f"--mem-per-cpu={given['mem']}"]
    if "time" in given:
        options += [f"--time={given['time']}"]
    if launch.name is not None:
        limit = launch.options.get("max_jobs_run")
        at_once = f"%{launch.number('max_jobs_run', 1)}" if limit else ""
        options += [f"--array={launch.jobs.start}-{launch.jobs[-1]}{at_once}"]
    return options


def _name(launch: Launch) -> Path:
    """The log that a submission is noted beside."""
    return Path(launch.log if launch.name is None else launch.log.replace(launch.name, "all"))


def say(message: str) -> None:
    print(f"slurm.pl: {message}", file=sys.stderr, flush=True)


def begin(launch: Launch, kind: str) -> Submission:
    """Submit, unless a job of the same command is on its way.

    Raises:
        UserError: the job of another command writes this log; settings are wrong; sbatch refuses.
    """
    settings = load_settings(kind)
    text = script(launch, settings, Path.cwd())
    command = _digest(text)
    known = _on_its_way(launch)
    if known is not None and known.command == command:
        say(f"job {known.job} is on its way already: following it")
        known.write()
        return known
    if known is not None:
        raise UserError(
            f"job {known.job} of another command writes {launch.log}: wait for it, or end it: "
            f"scancel {known.job}"
        )
    options = sbatch_options(launch, kind, settings, os.environ)
    for job in launch.jobs:
        log = Path(launch.fill(launch.log, job))
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():  # of an earlier job, which says nothing of this one
            log.replace(f"{log}.old")
    if settings == JobSettings():
        say(
            f"the cluster's default partition, for {LOCAL} says nothing of jobs of the kind {kind} "
            "(conf/slurm.yaml explains it)"
        )
    submission = Submission(_name(launch), submit(options, text), command)
    submission.write()
    return submission


def _on_its_way(launch: Launch) -> Submission | None:
    """The job that writes this log, or is going to."""
    known = Submission.read(_name(launch))
    if known is not None and not all(state.has_ended for state in states(known.job).values()):
        return known
    # its launcher may have been killed before it could note the job
    found = writing(log_pattern(launch, Path.cwd()))
    return found and Submission(_name(launch), found[0], _digest(found[1]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def follow(launch: Launch, job: str) -> dict[int, JobState]:
    """Wait until all is over; say what changes. Return the states in which the jobs have ended."""
    said = ""
    silent = False
    started = time.monotonic()
    over: dict[int, JobState] = {}
    while True:
        try:
            found = _numbered(launch, states(job))
            silent = False
        except SlurmError as error:
            if not silent:
                say(f"{error}; asking again until there is an answer")
            silent, found = True, None
        if found is not None:
            over |= {number: state for number, state in found.items() if state.has_ended}
            for number in launch.jobs:
                if number not in found and number not in over:
                    over[number] = _forgotten(launch, job, number)
            waiting = {n: state for n, state in found.items() if not state.has_ended}
            message = _standing(job, launch, waiting)
            if message and message != said:
                say(message)
                said = message
            if not waiting:
                return over
        waited = time.monotonic() - started
        time.sleep(next((p for p in _PAUSES if waited < 20 * p), _PAUSES[-1]))


def _numbered(launch: Launch, found: Mapping[int | None, JobState]) -> dict[int, JobState]:
    """By the numbers of the jobs; what is pending as a whole stands for each that is not named."""
    whole = found.get(None)
    numbered = {task: state for task, state in found.items() if task is not None}
    if whole is not None:
        numbered = {**dict.fromkeys(launch.jobs, whole), **numbered}
    return {number: state for number, state in numbered.items() if number in launch.jobs}


def _forgotten(launch: Launch, job: str, number: int) -> JobState:
    """How a job has ended that squeue no longer knows."""
    known = _numbered(launch, accounted(job)).get(number)
    if known is not None and known.has_ended:
        return known
    code = exit_code(Path(launch.fill(launch.log, number)))
    if code is None:
        return JobState("CANCELLED", "Slurm has forgotten it, and its log has no end")
    return JobState("COMPLETED" if code == 0 else "FAILED")


def _standing(job: str, launch: Launch, waiting: Mapping[int, JobState]) -> str:
    """A line on what is not over."""
    pending = [state for state in waiting.values() if state.state == "PENDING"]
    if len(pending) == len(waiting) and pending:
        first = pending[0]
        when = f", expected start {first.start}" if first.start not in ("", "N/A") else ""
        why = f" ({first.reason})" if first.reason not in ("", "None") else ""
        return f"job {job}: queued{why}{when}"
    if not waiting:
        return ""
    if len(launch.jobs) == 1:
        (state,) = waiting.values()
        return f"job {job}: {state.state.lower()} on {state.nodes}"
    running = len(waiting) - len(pending)
    done = len(launch.jobs) - len(waiting)
    return f"job {job}: {running} running, {len(pending)} queued, {done} of {len(launch.jobs)} done"


def explain(job: str, launch: Launch, number: int, state: JobState) -> str:
    """Why a job failed."""
    name = job if launch.name is None else f"{job}_{number}"
    code = exit_code(Path(launch.fill(launch.log, number)))
    if state.state == "FAILED":
        return f"job {name} failed with status {code}" if code else f"job {name} failed"
    mend = _MENDS.get(state.state, "").format(local=LOCAL)
    why = state.reason if state.reason not in ("", "None") else ""
    return f"job {name}: {state.state}{f' ({why})' if why else ''}{f': {mend}' if mend else ''}"


def _stop(job: str) -> None:
    def stopped(number: int, frame: object) -> NoReturn:
        say(
            f"stopped by {signal.Signals(number).name}; job {job} goes on: the same command typed again "
            f"follows it, and `scancel {job}` ends it"
        )
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)


def main(words: Sequence[str] | None = None) -> int:
    """Run the launcher; return its exit status."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if words else 255
    try:
        launch = parse(words, "slurm.pl")
        if "config" in launch.options:
            raise ConfigError(
                f"--config is of Kaldi's slurm.pl; this one reads {LOCAL} (conf/slurm.yaml explains it)"
            )
        submission = begin(launch, launch.options.get("kind", "cpu"))
        if launch.options.get("detach") == "true":
            say(f"job {submission.job} goes on by itself; log: {launch.log}")
            return 0
        _stop(submission.job)
        over = follow(launch, submission.job)
    except (UsageError, UserError, OSError) as error:
        for line in str(error).splitlines():
            print(f"slurm.pl: error: {line}", file=sys.stderr)
        return 255
    failed = sorted(number for number, state in over.items() if state.state != "COMPLETED")
    if not failed:
        return 0
    for number in failed[:5]:
        say(explain(submission.job, launch, number, over[number]))
    say(launch.failure(failed))
    return min(len(failed), MOST_FAILURES)
