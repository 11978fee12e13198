"""Tab-separated tables of corpora, streamed: no quoting, columns by name.

A quote is a character like any other (`csv.QUOTE_NONE`): readers that take it for quoting swallow
rows. Lines end at a newline and nowhere else; fields are separated by tabs and by nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.inputs import bad_input, open_input

#: Called as ``bad_line(line number, reason, detail)`` for a line that is left out.
BadLine = Callable[[int, str, str], None]

_UNESCAPED_TAB = re.compile(r"((?:[^\t\\]|\\.?)*)(?:\t|$)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_tsv(
    path: str | Path,
    header: Sequence[str] | None,
    needed: Sequence[str],
    bad_line: BadLine | None = None,
    optional: Sequence[str] = (),
    escaped: bool = False,
) -> Iterator[tuple[str, ...]]:
    """Yield the wanted columns of every sound line, in constant memory.

    A byte-order mark and Windows line ends are taken off and logged; lines that cannot be read are
    named, not yielded.

    Args:
        path: the table, in UTF-8.
        header: the names of the columns where the file does not say them; None: its first line does.
        needed: columns that must be there.
        bad_line: told about every line that is left out; None: the first one is an error.
        optional: columns given after the needed ones, empty where the file has none.
        escaped: whether a backslash takes a tab, newline or backslash after it into the field.

    Yields:
        The values of ``needed`` and ``optional``, as written (spaces are kept).

    Raises:
        DataError: the file is missing or empty, or lacks a needed column.
    """
    path = Path(path)
    # a damaged disk or a pipe is named like a missing file
    with bad_input(DataError, f"{path}: cannot be read"), open_input(path) as file:
        numbered = enumerate(_join_escaped(file) if escaped else file, 1)
        ending = b"\n"
        names = list(header) if header is not None else None
        picked: list[int] = []
        for number, line in numbered:
            if number == 1:
                if line.startswith(b"\xef\xbb\xbf"):
                    logging.warning("%s: the byte-order mark at its start is taken off", path)
                    line = line[3:]
                if line.endswith(b"\r\n"):
                    logging.warning("%s: the Windows line ends are taken off", path)
                    ending = b"\r\n"
            if line.endswith(ending):
                line = line[: -len(ending)]
            elif line.endswith(b"\n"):
                line = line[:-1]
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                if names is None:
                    raise DataError(f"{path}: the header is not UTF-8") from None
                _tell(bad_line, path, number, "not UTF-8", f"byte {error.start + 1}")
                continue
            fields = _split_escaped(text) if escaped and "\\" in text else text.split("\t")
            if names is None:
                names = [name.strip() for name in fields]
                picked = _pick(path, names, needed, optional)
                continue
            if not picked:
                picked = _pick(path, names, needed, optional)
            if len(fields) != len(names):
                found = f"{len(fields)} instead of {len(names)}"
                _tell(bad_line, path, number, "wrong number of columns", found)
                continue
            yield tuple([fields[i] if i >= 0 else "" for i in picked])
        if names is None:
            raise DataError(f"{path}: empty, without even a header")


def _tell(bad_line: BadLine | None, path: Path, number: int, reason: str, detail: str) -> None:
    if bad_line is None:
        raise DataError(f"{path}:{number}: {reason}: {detail}")
    bad_line(number, reason, detail)


def _pick(
    path: Path, names: Sequence[str], needed: Sequence[str], optional: Sequence[str]
) -> list[int]:
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; the columns are: {', '.join(names)}"
        )
    return [names.index(name) if name in names else -1 for name in (*needed, *optional)]


def _join_escaped(lines: Iterator[bytes] | Sequence[bytes]) -> Iterator[bytes]:
    """Join a line whose newline is escaped with the next one."""
    kept = b""
    for line in lines:
        line = kept + line
        body = line[:-1] if line.endswith(b"\n") else line
        if line.endswith(b"\n") and (len(body) - len(body.rstrip(b"\\"))) % 2:
            kept = line
        else:
            kept = b""
            yield line
    if kept:
        yield kept


def _split_escaped(text: str) -> list[str]:
    fields = []
    position = 0
    while True:
        match = _UNESCAPED_TAB.match(text, position)
        assert match is not None  # it matches the empty string
        fields.append(_ESCAPED.sub(r"\1", match[1]))
        position = match.end()
        if match[0] == match[1]:  # ended by the end of the line, not by a tab
            return fields
