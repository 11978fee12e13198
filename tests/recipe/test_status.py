"""part_status: what it finds of data, experiments and jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.launch.slurm_client import JobState
from espnet_part.launch.submission import Submission
from espnet_part.recipe import status
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.status import experiments


@pytest.fixture(autouse=True)
def alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, JobState]:
    """The user's jobs; called in a recipe's directory, which is empty."""
    monkeypatch.chdir(tmp_path)
    Path("exp").mkdir()
    jobs: dict[str, JobState] = {}
    monkeypatch.setattr(status, "_jobs", lambda: jobs)
    return jobs


def shown(directory: str = "exp") -> list[str]:
    return [line.strip() for each in experiments(Path(directory)) for line in str(each).split("\n")]


def begin(*paths: str, ended: bool = False) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Marker(Path(path)).begin("key")
        if ended:
            Marker(Path(path)).finish("key", None)


def test_data_are_shown_with_their_jobs(alive: dict[str, JobState]) -> None:
    begin("dump/.done/stage1", "dump/.done/stage2_train", ended=True)
    begin("dump/.done/stage2_dev", "exp/.done/stage4_model")
    Submission(Path("dump/raw/org/logs/format_dev.all.log"), "7", "x").write()
    Path("dump/raw/org/logs/format_dev.2.log").write_text(
        "INFO: formatting: 40%|####  | ETA 2:00\n"
    )
    alive["7"] = JobState("PENDING", "Resources", "2026-11-27T10:00:00")
    assert shown() == [
        "dump: format_dev.all.log: job 7 is queued (Resources), expected start 2026-11-27T10:00:00",
        "1  data preparation done",
        "2  format audio     at work  formatting: 40%|####  | ETA 2:00",
        "4  base models      stopped",
    ]
    alive.clear()
    assert shown()[0] == "dump: nothing is at work here"
    assert shown()[2].startswith("2  format audio     stopped")


def test_a_run_that_trains_nothing_yet_is_an_experiment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin("exp/part_stats_m/.done/stage5_train")
    Path("exp/part").mkdir()
    Path("exp/RESULTS.md").write_text("x")
    assert shown() == ["dump: nothing is at work here", "5  statistics       stopped"]
    holder = "process 5 on login1"
    monkeypatch.setattr(status, "_holder", lambda path: holder if path.name == "part" else "")
    assert shown() == [f"dump: {holder}", "5  statistics       at work", f"exp/part: {holder}"]


def test_one_experiment_is_shown_by_its_name(alive: dict[str, JobState]) -> None:
    begin("exp/part/.done/stage7")
    begin("exp/other/.done/stage7", ended=True)
    Submission(Path("exp/part/stage1/train.log"), "8", "x").write()
    alive["8"] = JobState("RUNNING", "", "", "n[1-4]")
    wanted = ["exp/part: train.log: job 8 is running on n[1-4]", "7  PART stage 1     at work"]
    assert shown("exp/part") == wanted
    assert shown() == ["exp/other: nothing is at work here", "7  PART stage 1     done", *wanted]
