"""What is started for work that can be split."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from espnet_part.data import tables
from espnet_part.recipe.jobs import Jobs


@pytest.mark.parametrize(
    ("launcher", "lines", "least", "started"),
    [
        ("run.pl", 9, None, ["x.log --nj 4"]),
        ("slurm.pl", 9, None, ["JOB=1:4 x.JOB.log --nj 4 --job JOB", "x.log --nj 4"]),
        ("slurm.pl", 4, None, ["JOB=1:2 x.JOB.log --nj 2 --job JOB", "x.log --nj 2"]),
        ("slurm.pl", 2, None, ["x.log --nj 1"]),
        ("slurm.pl", 9, 3, ["JOB=1:3 x.JOB.log --nj 3 --job JOB", "x.log --nj 3"]),
    ],
)
def test_on_a_cluster_each_share_is_a_job_of_an_array(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    lines: int,
    least: int | None,
    started: list[str],
) -> None:
    monkeypatch.setattr(tables, "RANGE", 2)
    (tmp_path / "utt2task").write_text("".join(f"u{n} asr\n" for n in range(lines)))
    options = SimpleNamespace(nj=4, python="python", launchers={"train_cmd": [launcher]})
    jobs = Jobs(options)  # type: ignore[arg-type]
    found: list[str] = []

    def start(words: list[str | Path], *_: object) -> int:
        shown = [Path(word).name for word in words]
        threads = shown.index("--num_threads")
        command = shown.index("python")
        found.append(" ".join([*shown[threads + 2 : command], *shown[command + 3 :]]))
        return 0

    monkeypatch.setattr(jobs, "_start", start)
    jobs.launch_split(tmp_path / "x.log", "module", tmp_path, least=least)
    assert found == started


@pytest.mark.parametrize(
    ("ngpu", "num_nodes", "started"),
    [
        (0, 1, ["--gpu 0 x.log --ngpu 0"]),
        (1, 1, ["--gpu 1 x.log --ngpu 1"]),
        (2, 3, ["--gpu 1 JOB=1:6 x.JOB.log --ngpu 1 --nj 6 --job JOB", "--gpu 1 x.log --ngpu 1"]),
    ],
)
def test_features_are_made_on_as_many_gpus_as_a_training_has(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ngpu: int,
    num_nodes: int,
    started: list[str],
) -> None:
    options = SimpleNamespace(
        ngpu=ngpu, num_nodes=num_nodes, nj=4, python="python", launchers={"cuda_cmd": ["run.pl"]}
    )
    jobs = Jobs(options)  # type: ignore[arg-type]
    found: list[str] = []

    def start(words: list[str | Path], *_: object) -> int:
        shown = [Path(word).name for word in words]
        command = shown.index("python")
        found.append(" ".join([*shown[1:command], *shown[command + 3 :]]))
        return 0

    monkeypatch.setattr(jobs, "_start", start)
    jobs.launch_on_gpus(tmp_path / "x.log", "module")
    assert found == started


def test_what_another_machine_has_made_is_looked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where NFS remembers that something is not there, a look into the directory makes it forget."""
    looked: list[str] = []
    scan = os.scandir

    def look(path: Path) -> object:
        looked.append(str(path))
        return scan(path)

    made = tmp_path / "dump/raw/train"
    jobs = Jobs(SimpleNamespace())  # type: ignore[arg-type]
    jobs.makes = [made]
    monkeypatch.setattr(os, "scandir", look)
    jobs.run(["mkdir", "-p", made])
    assert looked[-3:] == [str(tmp_path / "dump"), str(tmp_path / "dump/raw"), str(made)]
