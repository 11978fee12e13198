"""Markers, stages and locks: what is taken for done, and what is not."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from espnet_part.errors import UserError
from espnet_part.recipe import locks
from espnet_part.recipe.jobs import JobFailed
from espnet_part.recipe.markers import Done, Marker
from espnet_part.recipe.stages import Piece, Runner, Stage, deal_out, move_aside, read_product

HOLD = """
import sys
from espnet_part.recipe import locks
with getattr(locks, sys.argv[2])(sys.argv[1], "the data", print):
    print("held", flush=True)
    sys.stdin.read()
"""


class Options:
    stage: int | None = None
    stop_stage = 9


class NoJobs:
    def __init__(self) -> None:
        self.held: list[int] = []


def make_runner(tmp_path: Path, stage: int | None = None) -> Runner:
    options: Any = Options()
    options.stage = stage
    jobs: Any = NoJobs()
    return Runner("part.sh", options, jobs, tmp_path / "times.jsonl")


class Work:
    """A stage that writes a file; it can be told to be killed half way."""

    def __init__(self, root: Path) -> None:
        self.root, self.killed, self.runs, self.cleared = root, False, 0, 0
        self.marker = Marker(root / ".done/stage3")

    def stage(self, key: str) -> Stage:
        def run() -> None:
            self.runs += 1
            (self.root / "out").write_text("half")
            if self.killed:
                raise KeyboardInterrupt
            (self.root / "out").write_text(key)

        def clear() -> None:
            self.cleared += 1

        piece = Piece(
            marker=self.marker,
            key=key,
            makes=[self.root / "out"],
            run=run,
            clear=clear,
            product=lambda: (self.root / "out").read_text(),
        )
        return Stage(number=3, name="filter", pieces=lambda: [piece])


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (
            "# Ended (code 137) at noon, elapsed time 9 seconds\n",
            "was killed by SIGKILL, most often because",
        ),
        ("# Ended (code 143) at noon\n", "was killed by SIGTERM; see"),
        ("# Ended (code 1) at noon\n", "failed; see"),
        ("# Ended (code 255) at noon\n", "failed; see"),
        ("# Ended (code 137) at noon\n# Running on n2, job 7\n", "failed; see"),
        ("", "failed; see"),
    ],
)
def test_a_job_that_was_killed_says_so(tmp_path: Path, end: str, said: str) -> None:
    log = tmp_path / "train.log"
    log.write_text(f"step 30\n{end}")
    error = str(make_runner(tmp_path).failure(9, "PART stage 3", JobFailed([log])))
    assert error.startswith(f"stage 9 (PART stage 3) {said}") and f"see {log}" in error
    gone = str(make_runner(tmp_path).failure(9, "PART stage 3", JobFailed([tmp_path / "gone.log"])))
    assert gone.startswith("stage 9 (PART stage 3) failed; once")


def test_a_stage_is_run_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, runner = Work(tmp_path), make_runner(tmp_path)
    runner.run(work.stage("a"))
    runner.run(work.stage("a"))
    assert (work.runs, runner.done) == (1, [3])
    assert "Stage 3: filter: already done" in capsys.readouterr().out
    assert work.marker.read() == Done("a", "a")
    (tmp_path / "out").unlink()  # what is gone is not done
    runner.run(work.stage("a"))
    assert work.runs == 2
    make_runner(tmp_path, stage=3).run(work.stage("a"))
    assert work.runs == 3


def test_an_interrupted_run_with_other_options_is_not_taken_for_the_first(tmp_path: Path) -> None:
    work, runner = Work(tmp_path), make_runner(tmp_path)
    runner.run(work.stage("a"))
    work.killed = True
    with pytest.raises(KeyboardInterrupt):
        runner.run(work.stage("b"))
    assert not work.marker.path.exists()
    with pytest.raises(UserError, match="stage 3 was interrupted"):
        read_product(work.marker, 3)
    work.killed = False
    runner.run(work.stage("a"))
    assert (work.runs, work.cleared, (tmp_path / "out").read_text()) == (3, 3, "a")


def test_a_kill_under_the_same_key_goes_on(tmp_path: Path) -> None:
    work, runner = Work(tmp_path), make_runner(tmp_path)
    work.killed = True
    with pytest.raises(KeyboardInterrupt):
        runner.run(work.stage("a"))
    work.killed = False
    runner.run(work.stage("a"))
    assert (work.runs, work.cleared) == (2, 1)
    assert work.marker.begun is None


def test_what_is_not_ready_takes_nothing_out_of_the_way(tmp_path: Path) -> None:
    work, runner = Work(tmp_path), make_runner(tmp_path)
    runner.run(work.stage("a"))

    def refuse() -> None:
        raise UserError("not ready")

    (piece,) = work.stage("b").pieces()
    unready = dataclasses.replace(piece, ready=refuse)
    with pytest.raises(UserError, match="not ready"):
        runner.run(Stage(number=3, name="filter", pieces=lambda: [unready]))
    assert (work.cleared, work.marker.read(), work.marker.begun) == (1, Done("a", "a"), None)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"key": 1}', b"\xff", b"old key\n17-1\n"])
def test_a_file_that_is_no_marker_marks_nothing(tmp_path: Path, content: bytes) -> None:
    marker = Marker(tmp_path / "stage1")
    marker.path.write_bytes(content)
    assert marker.read() is None


def test_a_training_is_moved_aside_and_never_over_another(tmp_path: Path) -> None:
    said: list[str] = []
    for n in range(3):
        (tmp_path / "stage1").mkdir()
        (tmp_path / "stage1/weights").write_text(str(n))
        move_aside(tmp_path / "stage1", said.append)
    kept = [path.read_text() for path in tmp_path.glob("stage1.old.*/weights")]
    assert sorted(kept) == ["0", "1", "2"]
    assert all("the earlier training is kept in" in line for line in said)


def test_dealing_out() -> None:
    assert deal_out(["a", "b", "c"], 2) == [["a", "c"], ["b"]]
    assert deal_out(["a"], 4) == [["a"]]
    assert deal_out([], 4) == [[]]


def hold(path: Path, how: str) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return holder


def test_readers_share_and_keep_a_writer_out_with_the_pid(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    reader = hold(path, "reading")
    try:
        with locks.reading(path, "the data", print):
            pass
        refused = pytest.raises(UserError, match=r"the data: another process .*kill \d+")
        with refused, locks.writing(path, "the data", print):
            pass
    finally:
        reader.communicate(b"")


@pytest.mark.parametrize("how", ["reading", "writing"])
def test_a_writer_is_waited_for_and_named(tmp_path: Path, how: str) -> None:
    path, said = tmp_path / ".lock", []
    writer = hold(path, "writing")
    got = threading.Event()

    def wait() -> None:
        lock: AbstractContextManager[int] = getattr(locks, how)(path, "the data", said.append)
        with lock:
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not said:
        time.sleep(0.01)
    assert str(writer.pid) in said[0] and not got.is_set()
    writer.send_signal(signal.SIGKILL)
    thread.join()
    assert got.is_set() and len(said) == 1
    writer.communicate()


@pytest.mark.parametrize("reaped", [True, False])
def test_what_a_killed_run_left_behind_is_waited_for(tmp_path: Path, reaped: bool) -> None:
    """Its jobs hold the lock until they have ended; the next run goes on then."""
    path = tmp_path / ".lock"
    ended = subprocess.Popen(["true"])
    # not reaped, it is dead all the same
    os.waitid(os.P_PID, ended.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    holder = subprocess.Popen(["sleep", "1"], pass_fds=[descriptor])
    os.write(descriptor, f"{ended.pid} {os.uname().nodename}\n".encode())
    os.close(descriptor)
    waiting = partial(locks.experiment_lock, path, "exp/part")
    with waiting():
        assert path.read_text().split()[0] == str(os.getpid())
    holder.wait()
    ended.wait()
