"""A recipe that is stopped: by a signal to run.sh, by SIGKILL, half way through any stage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from espnet_part.recipe import leash

ROOT = Path(__file__).parents[2]
UTILS = ROOT / "egs2/TEMPLATE/part/utils"

PROGRAM = f"""
import sys
from pathlib import Path
from espnet_part.recipe.jobs import Jobs
from espnet_part.recipe.program import run_program
from espnet_part.recipe.stages import Piece, Runner, Stage
from espnet_part.recipe.markers import Marker

class Options:
    stage, stop_stage = None, 12
    launchers = {{"cuda_cmd": ["run.pl"]}}

def main(running):
    jobs = Jobs(Options())
    runner = Runner("part.sh", Options(), jobs, Path("times.jsonl"))
    running(runner)
    job = [{str(UTILS / "run.pl")!r}, "job.log", "bash", "-c", "echo $$ > pid; sleep 300 & wait"]
    piece = Piece(marker=Marker(Path("done")), key="k", makes=[], run=lambda: jobs.run(job))
    runner.run(Stage(number=8, name="PART stage 2", pieces=lambda: [piece]))

run_program("part.sh", main)
"""
RUN = f"""#!/usr/bin/env bash
set -euo pipefail
. '{UTILS}/recipe.sh'
stoppable '{sys.executable}' program.py
echo "and on"
"""


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _hear_signals() -> None:
    """Tests that nohup started, or `&` in a script, ignore what these are about, and hand that on."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """run.sh, whose program has started a job through run.pl, and the job's pid."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "run.sh").write_text(RUN)
    script = subprocess.Popen(
        ["bash", "run.sh"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_signals,
    )
    pid = tmp_path / "pid"
    wait_for(lambda: script.poll() is not None or (pid.is_file() and bool(pid.read_text())))
    assert script.poll() is None, script.communicate()
    yield script, int(pid.read_text())
    script.kill()


def programs(directory: Path) -> list[str]:
    """The commands that run in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                found.append((entry / "cmdline").read_bytes().decode().replace("\0", " "))
        except OSError:
            continue
    return [command for command in found if command]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name
)
def test_nothing_is_left_running(
    running: tuple[subprocess.Popen[str], int], tmp_path: Path, number: signal.Signals
) -> None:
    script, job = running
    script.send_signal(number)
    said, _ = script.communicate()
    assert script.returncode != 0
    wait_for(lambda: not programs(tmp_path))
    assert not is_alive(job)
    assert "and on" not in said
    name = number.name if number in (signal.SIGINT, signal.SIGTERM) else "SIGTERM"
    assert (
        f"part.sh: stopped by {name} in stage 8 (PART stage 2), and what it had started here; the same "
        "command goes on from here\n"
    ) in said
    assert not (tmp_path / "done").exists() and (tmp_path / "done.begun").exists()


def test_the_program_killed_leaves_nothing(
    running: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    script, job = running
    children = Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    script.communicate()
    assert script.returncode == 128 + signal.SIGKILL
    wait_for(lambda: not programs(tmp_path))
    assert not is_alive(job)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no/one"], 127),
    ],
)
def test_a_leash_ends_as_its_command_does(command: list[str], status: int) -> None:
    end, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-I", "-S", leash.__file__, str(end), *command],
        pass_fds=[end],
        start_new_session=True,
        capture_output=True,
    )
    os.close(end)
    os.close(writing)
    assert done.returncode == status


def test_a_command_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    end, writing = os.pipe()
    stubborn = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    code = "import sys; from espnet_part.recipe import leash; leash.GRACE = 0.3; "
    code += "leash.end_all.__defaults__ = (0.3,); sys.exit(leash.main())"
    job = subprocess.Popen(
        [sys.executable, "-c", code, str(end), "bash", "-c", stubborn],
        pass_fds=[end],
        start_new_session=True,
        cwd=tmp_path,
    )
    os.close(end)
    wait_for(lambda: (tmp_path / "pid").is_file() and bool((tmp_path / "pid").read_text()))
    os.close(writing)
    assert job.wait() == 143
    assert not is_alive(int((tmp_path / "pid").read_text()))
