"""Sorting more lines than memory holds."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

#: Lines that are sorted in memory at a time: less than 100 MB.
CHUNK = 100_000


class LineSorter:
    """Sorts lines by their first field (up to a tab); equal ones stay in the order they came.

    Args:
        prefix: path of the temporary files, without their number.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._lines: list[bytes] = []
        self._runs: list[Path] = []

    def add(self, line: bytes) -> None:
        """Add a line, which ends with a newline and has no other."""
        self._lines.append(line)
        if len(self._lines) >= CHUNK:
            self._spill()

    def merged(self) -> Iterator[bytes]:
        """Yield all lines in order, once, and remove the temporary files."""
        if not self._runs:
            self._lines.sort(key=first_field)
            yield from self._lines
            self._lines.clear()
            return
        self._spill()
        with ExitStack() as stack:
            runs = [stack.enter_context(run.open("rb", buffering=1 << 18)) for run in self._runs]
            yield from heapq.merge(*runs, key=first_field)
        for run in self._runs:
            run.unlink()
        self._runs.clear()

    def _spill(self) -> None:
        self._lines.sort(key=first_field)
        run = self._prefix.with_name(f"{self._prefix.name}{len(self._runs):05d}")
        with run.open("wb") as file:
            file.writelines(self._lines)
        self._runs.append(run)
        self._lines.clear()


def first_field(line: bytes) -> bytes:
    """What stands before the first tab."""
    return line[: line.index(b"\t")]
