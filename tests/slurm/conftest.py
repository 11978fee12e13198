"""A cluster of two nodes on this machine, for the tests that submit jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools/slurm_cluster.sh"
PROGRAMS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
Shell = Callable[..., subprocess.CompletedProcess[str]]


def call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Runs a command in a shell that uses the cluster."""
    if any(shutil.which(name, path=PROGRAMS) is None for name in ("slurmctld", "slurmd", "munged")):
        pytest.skip("no Slurm: apt-get install --no-install-recommends slurm-wlm munge")
    directory = tmp_path_factory.mktemp("slurm") / "cluster"
    started = call(SCRIPT, "start", "--dir", directory)
    assert started.returncode == 0, started.stderr
    try:
        yield lambda *words: call(*words, SLURM_CONF=str(directory / "slurm.conf"))
    finally:
        stopped = call(SCRIPT, "stop", "--dir", directory)
        assert stopped.returncode == 0 and not directory.exists(), stopped.stderr


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def start_now(cluster: Shell, job: str) -> None:
    """Start a requeued job, which Slurm would do in two minutes."""
    until(lambda: "PENDING" in cluster("squeue", "-h", "-j", job, "-o", "%T").stdout, 100)
    time.sleep(3)  # the node needs a moment
    until(lambda: cluster("scontrol", "update", f"JobId={job}", "StartTime=now").returncode == 0)
