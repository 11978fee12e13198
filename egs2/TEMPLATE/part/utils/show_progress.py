#!/usr/bin/env python3
"""Show the progress bars that running jobs write into their log files.

    show_progress.py LOG ...

Follows the logs from where they stand until it is ended, and shows the newest line that has a
progress bar (tqdm's "NN%|") or an estimate ("ETA"). On a terminal the line is drawn over the last
one; elsewhere a line is printed at most every 15 seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

PROGRESS = re.compile(r"\d+%\||\bETA\b", re.IGNORECASE)
PREFIX = re.compile(r"^.*?\b(?:INFO|WARNING)\b:?\s*")  # the logger's time and module


class Follower:
    def __init__(self, path: Path) -> None:
        self.path, self.position, self.inode = path, 0, None
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


def main() -> None:
    followers = [Follower(Path(name)) for name in sys.argv[1:]]
    terminal = sys.stdout.isatty()
    shown, shown_at = "", -15.0
    latest = ""

    def finish(signum: int, frame: object) -> None:
        if terminal and shown:
            print(flush=True)
        elif latest and latest != shown:
            print(f"  {latest}", flush=True)
        # not sys.exit: a signal may arrive while stdout is being written
        os._exit(0)

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    parent = os.getppid()
    while os.getppid() == parent:
        for follower in followers:
            for line in follower.lines():
                if PROGRESS.search(line):
                    latest = PREFIX.sub("", line).strip()
        if latest and latest != shown and (terminal or time.monotonic() - shown_at >= 15):
            if terminal:
                width = shutil.get_terminal_size().columns
                print(f"\r\033[K  {latest}"[: width + 4], end="", flush=True)
            else:
                print(f"  {latest}", flush=True)
            shown, shown_at = latest, time.monotonic()
        time.sleep(0.5 if terminal else 2)


if __name__ == "__main__":
    main()
