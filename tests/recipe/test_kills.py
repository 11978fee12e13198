"""A recipe killed before any line of its bookkeeping: it goes on, and ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from espnet_part import files
from espnet_part.errors import UserError
from espnet_part.recipe import keys, markers, stages
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.stages import Piece, Runner, Stage, read_product

#: Before each of their lines a process may be killed; the work itself is in this file.
WATCHED = {module.__file__ for module in (files, markers, stages)} | {__file__}


class Options:
    stage: int | None = None
    stop_stage = 12


class NoJobs:
    def __init__(self) -> None:
        self.held: list[int] = []


class Recipe:
    """Twelve stages: each writes in two steps what depends on an option and on the stage before."""

    def __init__(self, root: Path, option: str, stages: int = 12) -> None:
        self.root, self.option, self.count = root, option, stages

    def marker(self, n: int) -> Marker:
        return Marker(self.root / f".done/stage{n}")

    def output(self, n: int) -> Path:
        return self.root / f"out{n}"

    def pieces(self, n: int) -> list[Piece]:
        before = read_product(self.marker(n - 1), n - 1) if n > 1 else self.option
        out = self.output(n)

        def run() -> None:
            going_on = out.exists()
            with out.open("a" if going_on else "w") as file:
                if not going_on:
                    file.write(f"{n}:")
                file.flush()
                text = out.read_text()
                for letter in f"{n}:{before}"[len(text) :]:
                    file.write(letter)
                    file.flush()

        def clear() -> None:
            out.unlink(missing_ok=True)

        return [
            Piece(
                marker=self.marker(n),
                key=keys.digest(n, before),
                makes=[out],
                run=run,
                clear=clear,
                product=out.read_text,
            )
        ]

    def run(self) -> None:
        options: Any = Options()
        jobs: Any = NoJobs()
        runner = Runner("part.sh", options, jobs, self.root / "times.jsonl")
        for n in range(1, self.count + 1):
            runner.run(Stage(number=n, name="work", pieces=lambda n=n: self.pieces(n)))

    def outputs(self) -> list[str]:
        return [self.output(n).read_text() for n in range(1, self.count + 1)]


def killed_at(line: int, work: Callable[[], None]) -> bool:
    """Run in a process that is killed before the ``line``-th watched line; false where it ended."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        seen = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename not in WATCHED:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.settrace(trace)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote, be it on the disk or not."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_killed_again_and_again_in_twelve_stages(tmp_path: Path) -> None:
    """Each life is a little longer than what the bookkeeping of a done stage takes."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = Recipe(tmp_path / "whole", "ab"), Recipe(tmp_path / "killed", "ab")
    whole.run()
    lives, line = 0, 20
    while killed_at(line, killed.run):
        lives, line = lives + 1, line + 7
    assert lives > 12
    assert killed.outputs() == whole.outputs()


@pytest.mark.parametrize("before", [None, "another"], ids=["anew", "over another run"])
def test_killed_before_every_line(
    tmp_path: Path, before: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in range(1, 2000):
        capsys.readouterr()
        root = tmp_path / str(line)
        root.mkdir()
        if before is not None:
            Recipe(root, before, 1).run()
        recipe = Recipe(root, "ab", 1)
        was_killed = killed_at(line, recipe.run)
        try:  # whoever reads now is told the truth
            product = read_product(recipe.marker(1), 1)
        except UserError as error:
            assert "stage 1 was interrupted" in str(error)
        else:
            if product != "stage 1 not run" and recipe.output(1).exists():
                assert product == recipe.output(1).read_text()
        # the next command, with the options of before or with the same ones
        for option in (before, "ab"):
            if option is not None:
                again = Recipe(root, option, 1)
                again.run()
                assert again.outputs() == [f"1:{option}"], line
        if not was_killed:
            assert line > 50
            return
    pytest.fail("it never ended")
