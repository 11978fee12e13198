"""The cluster on one machine: it runs jobs, starts and stops twice, and removes nothing of others."""

from __future__ import annotations

import time
from pathlib import Path

from tests.slurm.conftest import SCRIPT, Shell, call


def test_jobs_run_on_both_nodes(cluster: Shell) -> None:
    said = cluster("srun", "-N2", "bash", "-c", "echo $SLURMD_NODENAME")
    assert sorted(said.stdout.split()) == ["n1", "n2"], said.stderr
    assert cluster("srun", "bash", "-c", "exit 7").returncode == 7


def test_a_job_waits_and_is_cancelled(cluster: Shell) -> None:
    job = cluster("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 100").stdout.strip()
    deadline = time.monotonic() + 30
    while cluster("squeue", "-h", "-j", job, "-o", "%T").stdout.strip() != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert cluster("scancel", job).returncode == 0


def test_started_twice_it_is_one(cluster: Shell) -> None:
    conf = cluster("bash", "-c", "echo $SLURM_CONF").stdout.strip()
    said = call(SCRIPT, "start", "--dir", Path(conf).parent)
    assert (said.returncode, "runs already" in said.stdout) == (0, True)


def test_what_is_not_its_own_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text("mine")
    for action in ("stop", "start"):
        said = call(SCRIPT, action, "--dir", tmp_path)
        assert said.returncode == 1
        assert "is no cluster of this script's" in said.stderr or "is missing" in said.stderr
    assert (tmp_path / "slurm.conf").read_text() == "mine"
    assert call(SCRIPT, "stop", "--dir", tmp_path / "none").returncode == 0


def test_wrong_options_are_named(tmp_path: Path) -> None:
    for words, said in (
        (["begin"], "start, stop, status or env?"),
        (["start", "--nodes", "0"], "--nodes: must be a number above 0: 0"),
        (["start", "--nodes"], "--nodes: a value is missing"),
        (["start", "--node", "2"], "unknown option --node"),
        (["start", "--dir", f"{tmp_path}/a b"], "--dir: Slurm takes no such path"),
        (["status", "--dir", str(tmp_path / "none")], "no cluster runs in"),
    ):
        found = call(SCRIPT, *words)
        assert found.returncode == 1 and said in found.stderr
        assert found.stderr.count("\n") == 1
