"""Stages in their order: which are done, which run, and what is said about them."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from espnet_part.errors import UserError
from espnet_part.files import atomic_write
from espnet_part.recipe.jobs import JobFailed, Jobs, show_failure
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.options import RecipeOptions


def nothing(*_: object) -> None:
    """What most pieces need before they run, and what identifies what they made."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What of a stage is done or not by itself, such as one data set.

    Attributes:
        marker: where it stands that the piece is done.
        key: of what the result depends on (see `keys`).
        makes: what must be there for the piece to count as done.
        run: the work.
        ready: refuses to begin where something that the work needs is missing; called before anything
            is taken out of the way.
        clear: takes out of the way what other options, or a finished run, have left; called before
            the marker goes. After a kill under the same key it is not, and the work goes on.
        product: what identifies the result, for the keys of later stages.
    """

    marker: Marker
    key: str
    makes: Sequence[Path]
    run: Callable[[], None]
    ready: Callable[[], None] = nothing
    clear: Callable[[], None] = nothing
    product: Callable[[], Any] = nothing

    @property
    def is_done(self) -> bool:
        done = self.marker.read()
        return done is not None and done.key == self.key and all(p.exists() for p in self.makes)

    @property
    def is_interrupted(self) -> bool:
        """Whether a kill ended its work, which can go on."""
        return self.marker.read() is None and self.marker.begun == self.key


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A numbered stage.

    Attributes:
        pieces: built when the stage's turn has come, since keys hold what stages before have made.
        locks: what must be held while it works.
        finish: after the last piece.
    """

    number: int
    name: str
    pieces: Callable[[], Sequence[Piece]]
    locks: Sequence[Callable[[], AbstractContextManager[int]]] = ()
    finish: Callable[[], None] = nothing


class Runner:
    """Runs stages.

    Attributes:
        done: numbers of the stages that were done already.
        current: the stage at work, for messages.
    """

    def __init__(self, script: str, options: RecipeOptions, jobs: Jobs, times: Path) -> None:
        self.script, self.options, self.jobs, self.times = script, options, jobs, times
        self.done: list[int] = []
        self.current: Stage | None = None

    def log(self, message: str) -> None:
        """Print a line with the time and the script that is at work."""
        now = datetime.now().isoformat(timespec="seconds")
        print(f"{now} ({self.script}) {message}", flush=True)

    def selects(self, number: int) -> bool:
        """Whether a stage is asked for."""
        return (self.options.stage or 0) <= number <= self.options.stop_stage

    def run(self, stage: Stage) -> None:
        """Run a stage, unless it is done or not asked for.

        Raises:
            UserError: it failed, or something that it needs is missing.
        """
        if not self.selects(stage.number):
            return
        self.current = stage
        if not self._open_pieces(stage):
            self.log(f"Stage {stage.number}: {stage.name}: already done")
            if stage.number not in self.done:
                self.done.append(stage.number)
            return
        with ExitStack() as stack:
            for lock in stage.locks:
                held = stack.enter_context(lock())
                self.jobs.held.append(held)
                stack.callback(self.jobs.held.remove, held)
            # another recipe may have done it while this one waited
            pieces = self._open_pieces(stage)
            self.log(f"Stage {stage.number}: {stage.name}")
            started = time.time()
            try:
                for piece in pieces:
                    self._work(piece)
                stage.finish()
            except JobFailed as failure:
                raise self.failure(stage.number, stage.name, failure) from None
            self._note_time(stage, time.time() - started)
        self.current = None

    def _open_pieces(self, stage: Stage) -> list[Piece]:
        forced = self.options.stage is not None
        return [piece for piece in stage.pieces() if forced or not piece.is_done]

    def _work(self, piece: Piece) -> None:
        piece.ready()
        if not piece.is_interrupted:
            piece.clear()
        piece.marker.begin(piece.key)
        self.jobs.makes = piece.makes
        piece.run()
        for path in piece.makes:
            if not path.exists():
                raise UserError(f"{path} was not made")
        piece.marker.finish(piece.key, piece.product())

    def failure(self, number: int, name: str, failure: JobFailed) -> UserError:
        """What is said of a job of a stage that failed; the end of its log has been shown."""
        sys.stdout.flush()
        log, signal = show_failure(failure.logs)
        what = failure.what or name
        see = f"see {log}; " if log else ""
        happened = f"was killed by {signal}" if signal else "failed"
        if signal == "SIGKILL":
            happened += ", most often because the machine's memory is used up"
        return UserError(
            f"stage {number} ({what}) {happened}; {see}once it is mended, the same command goes on from "
            "here"
        )

    def _note_time(self, stage: Stage, seconds: float) -> None:
        line = {"stage": stage.number, "name": stage.name, "seconds": round(seconds, 1)}
        self.times.parent.mkdir(parents=True, exist_ok=True)
        with self.times.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_product(marker: Marker, stage: int, compute: Callable[[], Any] | None = None) -> Any:
    """What an earlier stage made.

    Args:
        compute: finds it out where the stage was not run here, as with data that came from elsewhere.

    Raises:
        UserError: the stage was interrupted, and what it made is unfinished.
    """
    done = marker.read()
    if done is not None:
        return done.product
    if marker.begun is not None:
        raise UserError(
            f"stage {stage} was interrupted ({marker.path}): run it first (--stage {stage} "
            f"--stop_stage {stage})"
        )
    return f"stage {stage} not run" if compute is None else compute()


def move_aside(directory: Path, log: Callable[[str], None], keep: Sequence[str] = ()) -> None:
    """Keep an earlier training, as DIRECTORY.old.DATE, or beside what must ``keep`` its place."""
    if not directory.exists():
        return
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    old = directory / f"old.{now}" if keep else directory.with_name(f"{directory.name}.old.{now}")
    number = 0
    while old.exists():
        number += 1
        old = old.with_name(f"{old.name.split('~')[0]}~{number}")
    if keep:
        entries = [
            path
            for path in directory.iterdir()
            if path.name not in keep and not path.name.startswith(("old.", "."))
        ]
        if not entries:
            return
        old.mkdir()
        for path in entries:
            path.rename(old / path.name)
    else:
        directory.rename(old)
    log(f"the earlier training is kept in {old}; delete it when it is not needed")


def write_run_script(directory: Path, options: RecipeOptions, number: int) -> None:
    """Leave run.sh in an experiment: how to run its stage again."""
    with atomic_write(directory / "run.sh") as script:
        script.write(
            f"#!/usr/bin/env bash\ncd {shlex.quote(str(Path.cwd()))}\n"
            f'{options.command.strip()} --stage {number} --stop_stage {number} "$@"\n'
        )
        os.fchmod(script.fileno(), 0o755)


def deal_out(items: Sequence[str], hands: int) -> list[Sequence[str]]:
    """Deal items out like cards: long and short utterances, and the tasks, come to each job alike."""
    hands = max(1, min(hands, len(items)))
    return [items[n::hands] for n in range(hands)]
