"""Kaldi tables, one line an utterance: ``id value``. Everything that reads or writes one does it here.

A table is a regular UTF-8 file. An ASCII space or tab ends the id, whatever other blanks Unicode has;
blanks of these two kinds around the value are no part of it. Lines end with a line feed, with or
without carriage returns before it, and with nothing else: other line ends of Unicode may stand in a
text. A byte-order mark at the start is taken off; lines without anything are passed over.
An id holds neither white space nor control characters of any kind: Kaldi and ESPnet would cut it there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.inputs import bad_input, open_input

#: Bytes of a line; a longer one is no line of a table, and is not taken into memory.
MAX_LINE = 1 << 20
#: The largest count that a table may hold; no recording has so many samples.
MAX_COUNT = 1 << 53
#: Controls (but the newline that ends a line), Unicode's own line ends, and a byte-order mark.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")

_BOM = b"\xef\xbb\xbf"
_BLANK = " \t"
_SEPARATOR = re.compile("[ \t]")

BadLine = Callable[[int, str, str, str], None]
"""Called as ``bad_line(line number, id or "", what is wrong, what was found)`` for a line left out."""


def iter_table(
    path: str | os.PathLike[str], bad_line: BadLine | None = None
) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, id, value) in constant memory; a value may hold blanks or be empty.

    Args:
        bad_line: told of lines that are not yielded; None: the first one is an error.

    Raises:
        DataError: the file cannot be read, or is not a regular file.
    """
    tell = bad_line or partial(_refuse, path)
    with bad_input(DataError, path), open_input(path) as file:
        for number, raw in enumerate(iter(partial(file.readline, MAX_LINE), b""), 1):
            if number == 1 and raw.startswith(_BOM):
                raw = raw[len(_BOM) :]
            if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                utt = _SEPARATOR.split(raw[:256].decode(errors="replace"), maxsplit=1)[0]
                while len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                    raw = file.readline(MAX_LINE)
                tell(number, utt, "line too long", f"more than {MAX_LINE} bytes")
                continue
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                utt = split_line(raw.decode(errors="replace"))[0]
                tell(number, utt, "wrong encoding", f"not UTF-8 at byte {error.start + 1}")
                continue
            utt, _, value = line.partition(" ")
            if utt.isprintable() and utt:  # nearly all lines of millions
                yield number, utt, value.rstrip("\r\n").strip(_BLANK)
                continue
            utt, value = split_line(line)
            if wrong := why_no_id(utt):
                tell(number, utt, *wrong)
            elif utt:
                yield number, utt, value


def read_table(path: str | os.PathLike[str], bad_line: BadLine | None = None) -> dict[str, str]:
    """Read a whole table, in the order of its lines.

    Args:
        bad_line: see `iter_table`; an id given twice is such a line too.

    Raises:
        DataError: the file cannot be read, or without ``bad_line`` a line is wrong.
    """
    table: dict[str, str] = {}
    for number, utt, value in iter_table(path, bad_line):
        if utt not in table:
            table[utt] = value
        elif bad_line is not None:
            bad_line(number, utt, "duplicate id", "")
        else:
            raise DataError(f"{Path(path)}:{number}: the id {utt} is given twice")
    return table


def read_counts(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read a table of numbers, such as ``utt2num_samples``.

    Raises:
        DataError: see `read_table`; a value is not a whole number from 0 to `MAX_COUNT`.
    """
    counts = {}
    for utt, value in read_table(path).items():
        count = parse_count(value)
        if count is None:
            raise DataError(f"{os.fspath(path)}: {utt}: not a number: {value[:40]!r}")
        counts[utt] = count
    return counts


def parse_count(value: str) -> int | None:
    """A whole number from 0 to `MAX_COUNT` in ASCII digits; None for anything else."""
    if not (value.isascii() and value.isdigit() and len(value) <= 16):
        return None
    count = int(value)
    return count if count <= MAX_COUNT else None


def write_table(
    path: str | os.PathLike[str], rows: Iterable[tuple[str, str]], are_sorted: bool = False
) -> None:
    """Write a table sorted by id, whole or not at all.

    Args:
        rows: (id, value) in any order; with an empty value the id stands alone. Blanks around a
            value are not written.
        are_sorted: the rows come in order, and are not held in memory.

    Raises:
        DataError: an id is given twice, or would not be read again as it is, or its value.
    """
    with atomic_write(os.fspath(path), "wb") as file:
        previous = None
        for utt, value in rows if are_sorted else sorted(rows):
            if utt == previous:
                raise DataError(f"{os.fspath(path)}: the id {utt} is given twice")
            previous = utt
            file.write(format_line(path, utt, value).encode())


def format_line(path: str | os.PathLike[str], utt: str, value: str) -> str:
    """One line of a table.

    Args:
        path: of the table, for the message.

    Raises:
        DataError: it would not be read again as it is.
    """
    value = value.strip(_BLANK)
    line = f"{utt} {value}\n" if value else f"{utt}\n"
    if not is_id(utt) or "\n" in value or split_line(line) != (utt, value):
        raise DataError(f"{os.fspath(path)}: cannot be written as one line: {utt!r} {value!r}")
    return line


def checked_line(utt: bytes, value: bytes) -> bytes:
    """One line of an id and a value that were checked before, for writers of millions of them."""
    return b"%b %b\n" % (utt, value) if value else b"%b\n" % utt


def split_line(line: str) -> tuple[str, str]:
    """Id and value of a line; both are empty where nothing but blanks is in it."""
    utt, *rest = _SEPARATOR.split(line.rstrip("\r\n").strip(_BLANK), maxsplit=1)
    return utt, rest[0].strip(_BLANK) if rest else ""


def is_id(text: str) -> bool:
    """Whether a text can be an id: not empty, no white space, no control characters."""
    return bool(text) and " " not in text and why_no_id(text) is None


def why_no_id(utt: str) -> tuple[str, str] | None:
    """What makes a word unfit for an id, and where; None for a fit one."""
    if utt.isprintable():
        return None
    wrong = sorted({f"U+{ord(c):04X}" for c in utt if c.isspace() or CONTROL.match(c)})
    if not wrong:
        return None
    return "odd space or control in the id", (
        f"{' '.join(wrong)} in {utt[:80]!r}; ids hold no white space, and only an ASCII space or tab "
        "ends them"
    )


def _refuse(
    path: str | os.PathLike[str], number: int, utt: str, what: str, detail: str
) -> NoReturn:
    named = f" {utt}:" if utt else ""
    raise DataError(f"{Path(path)}:{number}:{named} {what}: {detail}")
