"""What slurm.pl asks for, and how it understands what Slurm says; a real cluster is in tests/slurm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from espnet_part.launch import slurm
from espnet_part.launch.command_line import Launch, parse
from espnet_part.launch.slurm import explain, follow, sbatch_options
from espnet_part.launch.slurm_client import JobState, SlurmError, accounted
from espnet_part.launch.slurm_settings import JobSettings


def options(*words: str, kind: str = "cpu", **conf: object) -> list[str]:
    launch = parse([*words, "a.JOB.log", "true"], "slurm.pl")
    return sbatch_options(launch, kind, JobSettings(**conf), {"PATH": "x"})  # type: ignore[arg-type]


def test_what_sbatch_is_asked_for() -> None:
    found = options("--gpu", "8", "--num_threads", "8", "--num_nodes", "4", "--name", "part_stage3")
    assert {"--gres=gpu:8", "--cpus-per-task=32", "--nodes=4", "--job-name=part_stage3"} <= set(
        found
    )
    found = options("--num_threads", "3", "--mem", "4G", "--time", "1:00:00", "JOB=2:9")
    assert {"--cpus-per-task=3", "--mem-per-cpu=4G", "--time=1:00:00", "--array=2-9"} <= set(found)
    assert not any("gres" in word for word in found)
    assert "--array=1-9%2" in options("--max-jobs-run", "2", "JOB=1:9")
    assert "--gres=gpu:a100:1" in options("--gpu", "1", gres="gpu:a100")
    assert "--mem=400G" in options("--gpu", "8", mem_per_gpu="50G", mem="9G")
    found = options("--gpu", "1", mem_per_gpu="50000", mem_per_cpu="4G")
    assert [word for word in found if "mem" in word] == ["--mem=50000"]
    assert "--mem-per-cpu=4G" in options(mem_per_gpu="50G", mem_per_cpu="4G")
    assert not any("signal" in word for word in (*found, *options(kind="train", warning=0)))
    for kind in ("decode", "train", "driver"):
        assert {"--requeue", "--signal=B:USR1@120"} <= set(options(kind=kind))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What squeue says, time after time."""
    said: list[object] = []

    def states(job: str) -> object:
        answer = said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(slurm, "states", states)
    monkeypatch.setattr(slurm, "accounted", lambda job: {})
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    return said


def job(log: Path) -> Launch:
    return Launch({}, None, range(1, 2), str(log), ["true"])


def test_a_controller_that_does_not_answer_is_asked_again(
    answers: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers += [
        {None: JobState("PENDING", "Resources", "2026-11-27T10:00:00")},
        SlurmError("squeue: Unable to contact slurm controller"),
        SlurmError("squeue: Unable to contact slurm controller"),
        {None: JobState("RUNNING", "None", "", "n1")},
        {None: JobState("COMPLETED")},
    ]
    assert follow(job(tmp_path / "a.log"), "5")[1].state == "COMPLETED"
    assert capsys.readouterr().err.splitlines() == [
        "slurm.pl: job 5: queued (Resources), expected start 2026-11-27T10:00:00",
        "slurm.pl: squeue: Unable to contact slurm controller; asking again until there is an answer",
        "slurm.pl: job 5: running on n1",
    ]


@pytest.mark.parametrize(
    ("log", "state"),
    [
        ("x\n# Ended (code 0) at now\n", "COMPLETED"),
        ("x\n# Ended (code 3) at now\n", "FAILED"),
        ("x\n", "CANCELLED"),
        (None, "CANCELLED"),
    ],
)
def test_what_slurm_has_forgotten_is_read_from_the_log(
    answers: list[object], tmp_path: Path, log: str | None, state: str
) -> None:
    answers += [{}]
    if log is not None:
        (tmp_path / "a.log").write_text(log)
    assert follow(job(tmp_path / "a.log"), "5")[1].state == state


SACCT = """#!/bin/sh
[ "$*" = "--noheader --parsable2 --allocations --jobs=5 -o JobID,State,Start,NodeList" ] || exit 1
echo '5_1|CANCELLED by 1000|2026-11-27T10:00:00|n1'
echo '5_2|OUT_OF_MEMORY|2026-11-27T10:00:00|n[1-2]'
echo '5_[3-9]|PENDING|Unknown|None assigned'
"""


def test_what_squeue_has_forgotten_is_asked_of_the_accounting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sacct = tmp_path / "sacct"
    sacct.write_text(SACCT)
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = accounted("5")
    assert [found[task].state for task in (1, 2)] == ["CANCELLED", "OUT_OF_MEMORY"]
    assert found[1].has_ended and found[2].nodes == "n[1-2]"
    assert accounted("6") == {}  # as without accounting
    monkeypatch.setattr(slurm, "states", lambda job: {})
    launch = Launch({}, "JOB", range(1, 3), str(tmp_path / "x.JOB.log"), ["true"])
    assert follow(launch, "5") == {task: found[task] for task in (1, 2)}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("TIMEOUT", "job 5: TIMEOUT (why): its time limit: ask for more by `time` in "),
        ("OUT_OF_MEMORY", "job 5: OUT_OF_MEMORY (why): ask for more by `mem` in "),
        ("NODE_FAIL", "job 5: NODE_FAIL (why): its node went down; typed again, it goes on"),
        (
            "PREEMPTED",
            "job 5: PREEMPTED (why): another job took its place; typed again, it goes on",
        ),
        ("CANCELLED", "job 5: CANCELLED (why): somebody, or the cluster, ended it"),
        ("FAILED", "job 5 failed with status 3"),
    ],
)
def test_why_a_job_has_ended_is_said(tmp_path: Path, state: str, said: str) -> None:
    (tmp_path / "a.log").write_text("x\n# Ended (code 3) at now\n")
    assert explain("5", job(tmp_path / "a.log"), 1, JobState(state, "why")).startswith(said)


def test_a_requeued_job_has_not_ended(answers: list[object], tmp_path: Path) -> None:
    answers += [
        {None: JobState("RUNNING", "", "", "n1")},
        {None: JobState("REQUEUED")},
        {None: JobState("PENDING", "BeginTime")},
        {None: JobState("RUNNING", "", "", "n2")},
        {None: JobState("NODE_FAIL")},
    ]
    assert follow(job(tmp_path / "a.log"), "5")[1].state == "NODE_FAIL"
    assert answers == []


def test_an_array_that_is_pending_as_a_whole(answers: list[object]) -> None:
    launch = Launch({}, "JOB", range(1, 4), "x.JOB.log", ["true"])
    ended = {task: JobState("COMPLETED") for task in (1, 2, 3)}
    answers += [
        {None: JobState("PENDING", "Priority")},
        {1: JobState("COMPLETED"), 2: JobState("RUNNING", "", "", "n1"), 3: JobState("PENDING")},
        {**ended, 2: JobState("OUT_OF_MEMORY", "OutOfMemory")},
    ]
    over = follow(launch, "5")
    assert [over[task].state for task in (1, 2, 3)] == ["COMPLETED", "OUT_OF_MEMORY", "COMPLETED"]
    assert explain("5", launch, 2, over[2]) == (
        "job 5_2: OUT_OF_MEMORY (OutOfMemory): ask for more by `mem` in conf/slurm.local.yaml"
    )
