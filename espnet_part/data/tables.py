"""The tables of a data directory, so many utterances at a time.

Tables sorted by id, as Kaldi's are, are read side by side, and of them no more than a range of ids is in
memory. One that is not sorted is read from a sorted copy on the disk. So a directory of any size can be
read, and ranges of it by different jobs.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.kaldi import iter_table
from espnet_part.sorting import LineSorter

#: Utterances that are in memory at a time.
RANGE = 10_000


Row = tuple[str, int, str, tuple[str, str] | None]
"""(id, number of the line, value, and what is wrong and what was found where it cannot be read)"""


class Table:
    """One table, looked through once.

    Attributes:
        is_sorted: whether its lines are in the order of their ids.
        wrong: the lines that cannot be read, in the order of their ids; one may have none.
        unreadable: why the file cannot be read, at least to its end.
        ends: the id of each `RANGE`-th line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_sorted = True
        self.wrong: list[Row] = []
        self.unreadable: str | None = None
        self.ends: list[str] = []
        last, count = "", 0
        try:
            for count, (_, utt, _) in enumerate(iter_table(path, self._bad_line), 1):
                if utt < last:
                    self.is_sorted = False
                last = utt
                if count % RANGE == 0:
                    self.ends.append(utt)
        except DataError as error:
            self.unreadable = str(error).removeprefix(f"{path}: ")
        self.wrong.sort()

    def rows(self) -> Iterator[Row]:
        """All lines in the order of their ids, and of lines with one id in that of the file."""
        good = self._in_order() if self.is_sorted else self._sorted()
        return heapq.merge(good, self.wrong, key=_PLACE) if self.wrong else good

    def _in_order(self) -> Iterator[Row]:
        try:
            for number, utt, value in iter_table(self.path, _pass_over):
                yield utt, number, value, None
        except DataError:
            return  # told by `unreadable`

    def _sorted(self) -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as directory:
            lines = LineSorter(Path(directory, "run"))
            for utt, number, value, _ in self._in_order():
                lines.add(f"{utt}\t{number}\t{value}\n".encode())
            copy = Path(directory, "sorted")
            with copy.open("wb") as file:
                file.writelines(lines.merged())
            with copy.open("rb") as file:
                for line in file:
                    utt, found, value = line.decode().removesuffix("\n").split("\t", 2)
                    yield utt, int(found), value, None

    def _bad_line(self, number: int, utt: str, what: str, detail: str) -> None:
        self.wrong.append((utt, number, "", (what, detail)))


_PLACE = itemgetter(0, 1)


class Cursor:
    """Goes through the lines of a table once, a range of ids at a time."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def until(self, last: str | None) -> Iterator[Row]:
        """The lines up to an id and with it, or the rest; all must be taken."""
        row = self._next
        while row is not None and (last is None or row[0] <= last):
            yield row
            row = next(self._rows, None)
        self._next = row


def first_rows(table: Table, ids: Collection[str] | None = None) -> Iterator[Row]:
    """The first line of each id (of these)."""
    last: str | None = None
    for row in table.rows():
        if row[0] != last and (ids is None or row[0] in ids):
            yield row
        last = row[0]


def split_of(
    ranges: Sequence[str | None], job: int, nj: int
) -> tuple[str | None, list[str | None]]:
    """The ranges of one of ``nj`` splits (1 is the first): what they begin after, and their ends."""
    first, end = (number * len(ranges) // nj for number in (job - 1, job))
    return (ranges[first - 1] if first else None), list(ranges[first:end])


def stamp(path: Path) -> list[int] | None:
    """What changes when a file does, as a rule: its size and its time (ns)."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _pass_over(*_: object) -> None:
    """Lines that cannot be read were told of when the table was looked through."""
