"""How far the experiments of a recipe are: by their markers, locks, logs, and the jobs of the cluster."""

from __future__ import annotations

import glob
import json
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import humanfriendly

from espnet_part.errors import UserError
from espnet_part.launch.command_line import exit_code
from espnet_part.launch.slurm_client import JobState, SlurmError, my_jobs
from espnet_part.launch.submission import SUFFIX, Submission
from espnet_part.recipe.progress import newest_progress, shortened
from espnet_part.report.history import read_stage_times

_MARKER = re.compile(r"stage(\d+)(?:_.*)?")
_NAMES = {
    **{n + 6: f"PART stage {n}" for n in (1, 2, 3)},
    **{10: "decoding", 11: "scoring", 12: "packing"},
}
#: Of the stages that serve all experiments: the name, and below the recipe's directory markers and logs.
_SHARED = {
    1: ("data preparation", "dump/.done/stage1*", ["dump/logs/data.*"]),
    2: (
        "format audio",
        "dump/.done/stage2_*",
        ["dump/raw/logs/format_*", "dump/raw/logs/augment_*", "dump/raw/org/logs/*"],
    ),
    3: ("filter", "dump/.done/stage3_*", ["dump/raw/logs/filter_*"]),
    4: ("base models", "exp/.done/stage4_*", ["exp/logs/base_models_*"]),
    5: ("statistics", "exp/part_stats_*/.done/stage5_*", ["exp/part_stats_*/logs/*"]),
    6: ("encoder features", "dump/encoder_*/.done/stage6_*", ["dump/encoder_*/logs/*"]),
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
                f"  {stage.number:2}  {stage.name:16} {stage.state:8} {stage.said}".rstrip()
            )
        return "\n".join(lines)


def experiments(expdir: Path) -> Iterator[ExperimentStatus]:
    """The data of all experiments below ``expdir``, and each that has begun; or the one that it is.

    Raises:
        UserError: there is no such directory.
    """
    if not expdir.is_dir():
        raise UserError(f"{expdir}: no such directory (called in a recipe's directory?)")
    alive = _jobs()
    if _has_begun(expdir):
        yield experiment(expdir, alive)
        return
    found = [experiment(path, alive) for path in sorted(expdir.iterdir()) if _has_begun(path)]
    at_work = [said for status in found for said in (status.holder, *status.jobs) if said]
    data = _shared(expdir, alive, at_work[0] if at_work else "")
    yield from [data] if data.stages else []
    yield from found


def _has_begun(directory: Path) -> bool:
    """Whether it is an experiment, of which there is a trace."""
    traces = (*directory.glob("stage[123]"), *directory.glob(".done/stage[789]*"))
    return bool(traces or _holder(directory)) or (directory / "run.log").is_file()


def _shared(expdir: Path, alive: Mapping[str, JobState], holder: str) -> ExperimentStatus:
    """Stages 1 to 6, which serve all experiments.

    Args:
        alive: the user's jobs by their numbers.
        holder: who is at work on an experiment, in words; empty for nobody.
    """
    recipe, jobs, stages = expdir.resolve().parent, [], []

    def find(pattern: str) -> list[Path]:
        return sorted(
            recipe.glob(pattern.replace("exp/", f"{glob.escape(expdir.resolve().name)}/"))
        )

    for number, (name, pattern, places) in _SHARED.items():
        markers = find(pattern)
        logs = [path for place in places for path in find(place)]
        at_work = _at_work((path for path in logs if path.suffix == SUFFIX), alive)
        jobs += [f"{log.name}: {_said(job, alive[job])}" for log, job in at_work.items()]
        if any(path.suffix == ".begun" for path in markers):
            state = "at work" if at_work or holder else "stopped"
            said = _newest([path for path in logs if path.suffix == ".log"])
            stages.append(StageStatus(number, name, state, said))
        elif markers:
            stages.append(StageStatus(number, name, "done"))
    is_at_work = any(stage.state == "at work" for stage in stages)
    return ExperimentStatus(expdir.parent / "dump", holder if is_at_work else "", jobs, stages)


def experiment(directory: Path, alive: Mapping[str, JobState]) -> ExperimentStatus:
    """Args: alive: the user's jobs by their numbers."""
    logs = _at_work(directory.rglob(f"*{SUFFIX}"), alive)
    jobs = [f"{log.name}: {_said(job, alive[job])}" for log, job in logs.items()]
    holder = _holder(directory)
    stages = []
    for number, markers in _markers(directory).items():
        begun = [path for path in markers if path.suffix == ".begun"]
        if not begun:
            stages.append(StageStatus(number, _NAMES[number], "done", _time(directory, number)))
            continue
        said = _newest(_logs(directory, number))
        # a job goes on whatever has become of who submitted it
        is_at_work = bool(holder) or any(_belongs(log, directory, number) for log in logs)
        state = "at work" if is_at_work else "stopped"
        stages.append(StageStatus(number, _NAMES[number], state, said))
    return ExperimentStatus(directory, holder, jobs, stages)


def _at_work(notes: Iterable[Path], alive: Mapping[str, JobState]) -> dict[Path, str]:
    """The logs of what is on its way, with its job."""
    read = (
        Submission.read(path.with_name(path.name.removesuffix(SUFFIX))) for path in sorted(notes)
    )
    return {note.log: note.job for note in read if note is not None and note.job in alive}


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


def _newest(logs: Sequence[Path]) -> str:
    """The newest progress that jobs have logged, of one that has not ended if there is any."""
    logs = [path for path in logs if path.is_file()]
    unfinished = [path for path in logs if exit_code(path) is None]
    for path in sorted(unfinished or logs, key=lambda path: path.stat().st_mtime, reverse=True):
        if said := newest_progress(path):
            return shortened(said)
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
