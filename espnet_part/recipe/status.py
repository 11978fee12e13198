"""How far the experiments of a recipe are: by their markers, locks, logs, and the jobs of the cluster."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import humanfriendly

from espnet_part.errors import UserError
from espnet_part.launch.command_line import exit_code
from espnet_part.launch.slurm_client import JobState, SlurmError, my_jobs
from espnet_part.launch.submission import SUFFIX, Submission
from espnet_part.recipe.progress import newest_progress
from espnet_part.report.history import read_stage_times

_MARKER = re.compile(r"stage(\d+)(?:_.*)?")
_NAMES = {
    **{n + 6: f"PART stage {n}" for n in (1, 2, 3)},
    **{10: "decoding", 11: "scoring", 12: "packing"},
}


@dataclass(frozen=True)
class StageStatus:
    """A stage of an experiment of which there is a trace.

    Attributes:
        state: done, at work, or stopped.
        said: how long it took; or how far it is.
    """

    number: int
    name: str
    state: str
    said: str = ""


@dataclass(frozen=True)
class ExperimentStatus:
    """An experiment.

    Attributes:
        holder: the process that works on it here, in words; empty for none.
        jobs: the cluster's jobs that write its logs, in words.
    """

    directory: Path
    holder: str
    jobs: list[str]
    stages: list[StageStatus]

    def __str__(self) -> str:
        at_work = [self.holder] if self.holder else []
        head = "; ".join([*at_work, *self.jobs]) or "nothing is at work here"
        lines = [f"{self.directory}: {head}"]
        for stage in self.stages:
            lines.append(
                f"  {stage.number:2}  {stage.name:14} {stage.state:8} {stage.said}".rstrip()
            )
        return "\n".join(lines)


def experiments(expdir: Path) -> Iterator[ExperimentStatus]:
    """Each experiment below ``expdir`` that has begun.

    Raises:
        UserError: there is no such directory.
    """
    if not expdir.is_dir():
        raise UserError(f"{expdir}: no such directory (called in a recipe's directory?)")
    alive = _jobs()
    for directory in sorted(path for path in expdir.iterdir() if path.is_dir()):
        if _markers(directory) or (directory / "run.log").is_file():
            yield experiment(directory, alive)


def experiment(directory: Path, alive: Mapping[str, JobState]) -> ExperimentStatus:
    """Args: alive: the user's jobs by their numbers."""
    logs = {}  # of what is on its way, with its job
    for note in sorted(directory.rglob(f"*{SUFFIX}")):
        submission = Submission.read(note.with_name(note.name.removesuffix(SUFFIX)))
        if submission is not None and submission.job in alive:
            logs[submission.log] = submission.job
    jobs = [f"{log.name}: {_said(job, alive[job])}" for log, job in logs.items()]
    holder = _holder(directory)
    stages = []
    for number, markers in _markers(directory).items():
        begun = [path for path in markers if path.suffix == ".begun"]
        if not begun:
            stages.append(StageStatus(number, _NAMES[number], "done", _time(directory, number)))
            continue
        said = _progress(directory, number)
        # a job goes on whatever has become of who submitted it
        is_at_work = bool(holder) or any(_belongs(log, directory, number) for log in logs)
        state = "at work" if is_at_work else "stopped"
        stages.append(StageStatus(number, _NAMES[number], state, said))
    return ExperimentStatus(directory, holder, jobs, stages)


def _jobs() -> Mapping[str, JobState]:
    if shutil.which("squeue") is None:
        return {}
    try:
        return my_jobs()
    except SlurmError:  # no cluster, or none that answers: the files say enough
        return {}


def _said(job: str, state: JobState) -> str:
    if state.state != "PENDING":
        return f"job {job} is {state.state.lower()} on {state.nodes}"
    when = f", expected start {state.start}" if state.start not in ("", "N/A") else ""
    return f"job {job} is queued ({state.reason}){when}"


def _markers(directory: Path) -> dict[int, list[Path]]:
    """By number, the markers of the experiment's stages and of what began and has not ended."""
    found: dict[int, list[Path]] = {}
    for path in sorted([*directory.glob(".done/stage*"), *directory.glob("*/.done/stage*")]):
        match = _MARKER.fullmatch(path.name.removesuffix(".begun"))
        if match and int(match[1]) in _NAMES:
            found.setdefault(int(match[1]), []).append(path)
    return dict(sorted(found.items()))


def _holder(directory: Path) -> str:
    """Who holds the experiment's lock, if it is a process of this machine.

    The lock itself is not tried, since a recipe that wants it at that moment would be refused.
    """
    try:
        pid, host = (directory / ".lock").read_text(encoding="utf-8").split()[:2]
        words = Path(f"/proc/{int(pid)}/cmdline").read_bytes()
    except (OSError, ValueError):
        return ""
    is_alive = host == socket.gethostname() and b"espnet_part" in words
    return f"process {pid} on {host}" if is_alive else ""


def _time(directory: Path, number: int) -> str:
    path = directory / "stage_times.jsonl"
    times = read_stage_times(path) if path.is_file() else []
    seconds = [item["seconds"] for item in times if item["stage"] == number]
    return humanfriendly.format_timespan(round(seconds[-1])) if seconds else ""


def _belongs(log: Path, directory: Path, number: int) -> bool:
    return log in _logs(directory, number) or (number == 10 and log.parent.name == "logdir")


def _logs(directory: Path, number: int) -> list[Path]:
    if 7 <= number <= 9:
        return [directory / f"stage{number - 6}/train.log"]
    if number == 10:
        return sorted(directory.glob("*/*/logdir/inference.*.log"))
    return sorted(directory.glob("*/*/score.log")) if number == 11 else [directory / "pack.log"]


def _progress(directory: Path, number: int) -> str:
    """The newest progress of the job that is furthest behind the others, by its log's age."""
    logs = [path for path in _logs(directory, number) if path.is_file()]
    unfinished = [path for path in logs if exit_code(path) is None]
    for path in sorted(unfinished or logs, key=lambda path: path.stat().st_mtime, reverse=True):
        said = newest_progress(path).split(" | ")
        if said[0]:  # the step, the loss and the estimate, without rates
            return " | ".join([*said[:2], *said[-1:]] if len(said) > 3 else said)
    return ""


def to_json(status: ExperimentStatus) -> str:
    """A line for a program."""
    stages = [vars(stage) for stage in status.stages]
    return json.dumps(
        {
            "experiment": str(status.directory),
            "process": status.holder,
            "jobs": status.jobs,
            "stages": stages,
        },
        ensure_ascii=False,
    )
