"""Talking to Slurm through its commands: submitting, and what has become of a job.

Works from Slurm 22.05 on, with and without accounting: states are squeue's, which knows a job for minutes
after its end (MinJobAge); what it has forgotten is asked of sacct, where there is one, and is read from
the job's log at last (see `slurm`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espnet_part.errors import UserError

ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
    }
)
"""States in which a job stays. What is put in the queue again (REQUEUED) becomes PENDING."""
_SEPARATOR = "\t"
_LONGEST_PATH = 4200  # in bytes, of Linux and some more
_PATIENCE = 60.0  # s that a busy controller has to answer


class SlurmError(UserError):
    """A command of Slurm's failed, or is missing; what it said."""


@dataclass(frozen=True)
class JobState:
    """What squeue says of a job, or of a task of an array.

    Attributes:
        state: such as PENDING. reason: why it is pending, or has ended so.
        start: when it is expected to start, or has started; N/A where nobody knows.
        nodes: where it runs.
    """

    state: str
    reason: str = ""
    start: str = ""
    nodes: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def call(
    *words: str, script: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a command of Slurm's prints.

    Args:
        environment: its own, where it is not to have this process's.

    Raises:
        SlurmError: it is missing, fails, or does not answer.
    """
    try:
        done = subprocess.run(
            words,
            input=script or "",
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=environment,
        )
    except FileNotFoundError:
        raise SlurmError(f"{words[0]} is missing: is this a machine of a Slurm cluster?") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{words[0]} has not answered for {_PATIENCE:.0f} s") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise SlurmError(f"{words[0]}: {said}")
    return done.stdout


def submit(options: Sequence[str], script: str) -> str:
    """Submit a script; return the job's number.

    Raises:
        SlurmError: it is refused, with what sbatch said.
    """
    # within another job, what that was given is not this one's
    environment = {n: v for n, v in os.environ.items() if n == "SLURM_CONF" or n[:6] != "SLURM_"}
    said = call("sbatch", "--parsable", *options, script=script, environment=environment)
    return said.strip().splitlines()[-1].partition(";")[0]  # ;cluster


def writing(pattern: str) -> tuple[str, str] | None:
    """The number and the script of this user's job that writes there, or is going to; None for none.

    Args:
        pattern: as sbatch was given it in --output.

    Raises:
        SlurmError: nobody answers.
    """
    form = f"ArrayJobID:24,STDOUT:{_LONGEST_PATH}"
    for line in call("squeue", "--me", "--noheader", "-O", form).splitlines():
        job, _, output = line.partition(" ")
        if output.strip() == pattern:
            return job, call("scontrol", "write", "batch_script", job, "-")
    return None


def cancel(job: str) -> None:
    """End a job, or all of an array.

    Raises:
        SlurmError: nobody answers, or it is another user's.
    """
    call("scancel", job)


def states(job: str) -> dict[int | None, JobState]:
    """The states of a job (by None) or of an array's tasks (by their numbers); none that is forgotten.

    Raises:
        SlurmError: nobody answers.
    """
    form = _SEPARATOR.join(("%i", "%T", "%r", "%S", "%N"))
    try:
        said = call("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "-o", form)
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    found: dict[int | None, JobState] = {}
    for line in said.splitlines():
        name, *rest = line.strip("\n").split(_SEPARATOR)
        task = name.partition("_")[2]
        found[int(task) if task.isdecimal() else None] = JobState(*(item.strip() for item in rest))
    return found


def my_jobs() -> dict[str, JobState]:
    """This user's jobs that have not ended, by their numbers; of an array, the state of a task.

    Raises:
        SlurmError: nobody answers.
    """
    form = _SEPARATOR.join(("%F", "%T", "%r", "%S", "%N"))
    lines = call("squeue", "--me", "--noheader", "-o", form).splitlines()
    rows = [line.strip("\n").split(_SEPARATOR) for line in lines]
    return {job: JobState(*(item.strip() for item in rest)) for job, *rest in rows}


def accounted(job: str) -> dict[int | None, JobState]:
    """As `states`, of what squeue has forgotten; none where there is no accounting."""
    form = "JobID,State,Start,NodeList"
    try:
        said = call(
            "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "-o", form
        )
    except SlurmError:
        return {}
    found: dict[int | None, JobState] = {}
    for line in said.splitlines():
        name, state, start, nodes = line.split("|")[:4]
        task = name.partition("_")[2]
        word = state.split()[0]  # CANCELLED by 1000
        found[int(task) if task.isdecimal() else None] = JobState(word, "", start, nodes)
    return found
