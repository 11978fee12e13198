"""The progress bars that running jobs write into their log files, shown on the terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

_PROGRESS = re.compile(r"\d+%\||\bETA\b", re.IGNORECASE)
_NOTE = re.compile(r"slurm\.pl: ")
_PREFIX = re.compile(r"^.*?\b(?:INFO|WARNING)\b:?\s*")  # the logger's time and module


_TAIL = 1 << 16


def newest_progress(log: Path) -> str:
    """The newest line of a log that has a bar or an estimate; empty where its end has none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            content = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    found = [line for line in re.split(r"[\r\n]+", content) if _PROGRESS.search(line)]
    line = _PREFIX.sub("", found[-1]).strip() if found else ""
    return "".join(c for c in line if c.isprintable())


def shortened(line: str, width: int = 0) -> str:
    """Of a training's progress the step, the loss and the estimate; any other line as it is.

    Args:
        width: all of it where that is not too long; the loss is left out, too, where it must be.
    """
    said = line.split(" | ")
    if len(said) <= 3 or len(line) <= width:
        return line
    short = " | ".join([*said[:2], said[-1]])
    return short if not width or len(short) <= width else f"{said[0]} | {said[-1]}"


class _Follower:
    def __init__(self, path: Path, label: str) -> None:
        self.path = path
        self.label = label
        self.position = 0
        self.inode: int | None = None
        if path.exists():  # of an earlier run; its lines are not this run's progress
            self.position, self.inode = path.stat().st_size, path.stat().st_ino
        self.rest = ""

    def lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self.inode or state.st_size < self.position:
                    self.position, self.inode, self.rest = 0, state.st_ino, ""
                file.seek(self.position)
                content = file.read(1 << 20)
                self.position += len(content)
        except OSError:
            return []
        pieces = re.split(r"[\r\n]+", self.rest + content.decode("utf-8", "replace"))
        self.rest = pieces.pop()
        return pieces


class Progress:
    """Shows the newest line of some logs that has a bar (tqdm's "NN%|") or an estimate ("ETA").

    Of several logs, those of an array of jobs, the line says which job's it is.

    On a terminal the line is drawn over the last one; elsewhere a line is printed at most every
    ``pause`` seconds. Runs in a thread of its own while the block does.

    Args:
        echo: show the other lines of the logs, too, but for a launcher's own.
        notes: a file of whose lines all that are a launcher's are shown, each once.
    """

    def __init__(
        self,
        logs: Sequence[Path],
        stream: TextIO | None = None,
        pause: float = 15.0,
        notes: Path | None = None,
        echo: bool = False,
    ) -> None:
        several = len(logs) > 1
        self._followers = [
            _Follower(path, f"job {job} of {len(logs)}: " if several else "")
            for job, path in enumerate(logs, 1)
        ]
        self._notes = _Follower(notes, "") if notes is not None else None
        self._echo = echo
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._pause = pause
        self._latest = self._shown = ""
        self._shown_at = -pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()
        if self._terminal:
            if self._latest:
                self._show()
                print(file=self._stream, flush=True)
        elif self._latest != self._shown:
            self._show()

    def _follow(self) -> None:
        while not self._ended.wait(0.5 if self._terminal else 2):
            self._look()
            due = self._terminal or time.monotonic() - self._shown_at >= self._pause
            if self._latest != self._shown and due:
                self._show()

    def _look(self) -> None:
        for line in self._notes.lines() if self._notes is not None else ():
            if _NOTE.match(line):
                self._print(line)
        for follower in self._followers:
            for line in follower.lines():
                if _PROGRESS.search(line):
                    self._latest = follower.label + _PREFIX.sub("", line).strip()
                elif self._echo and line and not line.startswith("# "):
                    self._print(line)

    def _print(self, line: str) -> None:
        """A line that stays."""
        over = "\r\033[K" if self._terminal else ""
        text = "".join(c for c in line if c.isprintable())
        print(f"{over}  {text}", file=self._stream, flush=True)

    def _show(self) -> None:
        self._shown, self._shown_at = self._latest, time.monotonic()
        # control characters of a log must not steer the terminal
        line = "".join(c for c in self._latest if c.isprintable())
        if self._terminal:
            width = shutil.get_terminal_size().columns
            line = shortened(line, width - 2)[: width - 2]
            print(f"\r\033[K  {line}", end="", file=self._stream, flush=True)
        else:
            print(f"  {line}", file=self._stream, flush=True)
