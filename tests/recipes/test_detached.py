"""A recipe without a terminal: part.sh --detach true, what follows it, and what ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recipes.stand_in import Recipe

WAIT = """#!/usr/bin/env bash
echo "waiting for go"
until [ -e go ]; do sleep 0.1; done
exec local/data_now.sh "$@"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Recipe]:
    """A recipe whose first stage waits for the file ``go``."""
    found = Recipe(tmp_path / "my recipe")
    data = found.directory / "local/data.sh"
    data.rename(data.with_name("data_now.sh"))
    Recipe.script(data, WAIT)
    yield found
    (found.directory / "go").touch()
    until(lambda: not at_work(found))


def at_work(recipe: Recipe) -> bool:
    path = recipe.directory / "exp/my system/run.log.pid"
    pid = json.loads(path.read_text())["pid"] if path.is_file() else 0
    cmdline = Path(f"/proc/{pid}/cmdline")
    return cmdline.is_file() and bool(cmdline.read_bytes())


def log(recipe: Recipe) -> str:
    path = recipe.directory / "exp/my system/run.log"
    return path.read_text() if path.is_file() else ""


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def status(recipe: Recipe) -> str:
    command = [sys.executable, "-m", "espnet_part.bin.part_status"]
    done = subprocess.run(
        command, cwd=recipe.directory, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_a_detached_run_is_followed_and_outlives_who_follows_it(recipe: Recipe) -> None:
    printed = recipe.run("--detach", "true")
    found = re.search(r"process (\d+) is at work; log: exp/my system/run.log\n", printed)
    assert found and f"`kill {found[1]}` ends it" in printed
    until(lambda: "waiting for go" in log(recipe))
    assert f"process {found[1]} is at work" in recipe.run("--detach", "true")  # not another one
    assert log(recipe).count("Stage 1") == 1
    assert re.search(r"exp/my system: process \d+ on ", status(recipe))

    follower = recipe.start()
    assert follower.stdout is not None
    assert "is at work without a terminal" in follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    said = follower.communicate(timeout=60)[0]
    assert f"it goes on; `kill {found[1]}` ends it" in said and "stopped by" not in said

    follower = recipe.start()
    assert follower.stdout is not None
    follower.stdout.readline()
    (recipe.directory / "go").touch()
    said = follower.communicate(timeout=120)[0]
    assert follower.returncode == 0, said
    assert "Stage 9" in said and "Successfully finished" in said and "# Ended" not in said
    assert log(recipe).count("Stage 7") == 1
    assert (recipe.directory / "exp/RESULTS.md").is_file()
    said = status(recipe)
    assert "exp/my system: nothing is at work here" in said
    assert re.search(r" 7  PART stage 1 +done ", said) and re.search("11  scoring +done", said)
    assert "already done" in recipe.run()  # and now in the terminal


def test_what_fails_is_the_followers_status(recipe: Recipe) -> None:
    (recipe.directory / "broken").write_text("part_train")
    recipe.run("--detach", "true")
    follower = recipe.start()
    assert follower.stdout is not None
    follower.stdout.readline()
    (recipe.directory / "go").touch()
    said = follower.communicate(timeout=120)[0]
    assert follower.returncode == 1 and "stage 7 (PART stage 1) failed" in said
    assert re.search(r" 7  PART stage 1 +stopped", status(recipe))


def test_a_detached_run_is_ended_with_all_that_it_started(recipe: Recipe) -> None:
    printed = recipe.run("--detach", "true")
    until(lambda: "waiting for go" in log(recipe))
    found = re.search(r"`kill (\d+)` ends it", printed)
    assert found
    os.kill(int(found[1]), signal.SIGTERM)
    until(lambda: "stopped by SIGTERM in stage 1 (data preparation)" in log(recipe))
    until(lambda: not at_work(recipe))
    (recipe.directory / "go").touch()
    assert "Successfully finished" in recipe.run()


def test_what_is_wrong_is_said_before_it_goes(recipe: Recipe) -> None:
    printed = recipe.run("--detach", "true", "--part_args", "--sede 1", fails=True)
    assert "did you mean `seed`" in printed and not log(recipe)
