"""Sorting more lines than memory holds."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

#: Lines that are sorted in memory at a time: less than 100 MB.
CHUNK = 100_000


#: Files that are merged at a time, each with a buffer of 256 KB; so many become one.
FILES = 64


class LineSorter:
    """Sorts lines by their first field (up to a tab); equal ones stay in the order they came.

    Args:
        prefix: path of the temporary files, without their number.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._lines: list[bytes] = []
        self._runs: list[list[Path]] = []  # by how often their lines have been merged
        self._count = itertools.count()

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
        yield from _merge([run for runs in reversed(self._runs) for run in runs])
        self._runs.clear()

    def _spill(self) -> None:
        self._lines.sort(key=first_field)
        self._write(self._lines, 0)
        self._lines.clear()

    def _write(self, lines: Iterable[bytes], level: int) -> None:
        run = self._prefix.with_name(f"{self._prefix.name}{next(self._count):05d}")
        with run.open("wb") as file:
            file.writelines(lines)
        if level == len(self._runs):
            self._runs.append([])
        self._runs[level].append(run)
        if len(self._runs[level]) == FILES:
            full, self._runs[level] = self._runs[level], []
            self._write(_merge(full), level + 1)


def _merge(runs: Sequence[Path]) -> Iterator[bytes]:
    """The lines of sorted files in order; then the files are removed."""
    with ExitStack() as stack:
        files = [stack.enter_context(run.open("rb", buffering=1 << 18)) for run in runs]
        yield from heapq.merge(*files, key=first_field)
    for run in runs:
        run.unlink()


def first_field(line: bytes) -> bytes:
    """What stands before the first tab."""
    return line[: line.index(b"\t")]
