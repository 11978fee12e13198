"""What `part_analyze` has found: its pictures and tables, by the list that it leaves."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from espnet_part.display import markdown, sentence
from espnet_part.document import Heading, Paragraph, Table
from espnet_part.errors import DataError, UserError
from espnet_part.parsing import read_json
from espnet_part.report.page.parts import Image, Part

INDEX = "analysis.json"
LARGEST_BYTES = 1_500_000
"""Of the pictures of a page together."""
MOST_ROWS = 200
_PNG = b"\x89PNG\r\n\x1a\n"


def analysis_parts(directory: Path) -> list[Part]:
    """A heading, a picture and a table for each entry of analysis.json; of a faulty one, what is wrong.

    Raises:
        UserError: the list cannot be read.
    """
    entries = read_json(directory / INDEX)
    if not isinstance(entries, list):
        raise DataError(f"{directory / INDEX}: must be a list of entries")
    parts: list[Part] = []
    left = LARGEST_BYTES
    for number, entry in enumerate(entries, 1):
        try:
            if not isinstance(entry, dict):
                raise DataError(f"{directory / INDEX}: entry {number} is no mapping")
            parts.append(Heading(3, markdown(entry.get("title", ""))))
            shown, left = _picture(directory, entry, left)
            parts += shown
            if entry.get("table"):
                parts += _table(_file(directory, entry["table"]))
        except (UserError, OSError, ValueError) as error:  # ValueError: a name with a NUL in it
            parts.append(Paragraph(f"Not here: {sentence(str(error))}"))
    return parts


def _picture(directory: Path, entry: dict[str, Any], left: int) -> tuple[list[Part], int]:
    """The picture of an entry or its caption alone, and how many bytes are left for others."""
    caption = str(entry.get("caption", ""))
    if not entry.get("picture"):
        return [Paragraph(markdown(caption))] if caption else [], left
    path = _file(directory, entry["picture"])
    with path.open("rb") as file:
        if file.read(len(_PNG)) != _PNG:
            raise DataError(f"{path}: is no PNG")
    if path.stat().st_size > left:
        return [Paragraph(markdown(f"{entry['picture']} is too large for this page."))], left
    content = path.read_bytes()
    encoded = base64.b64encode(content).decode("ascii")
    return [Image(f"data:image/png;base64,{encoded}", caption)], left - len(content)


def _file(directory: Path, name: Any) -> Path:
    """A file that the list names; only one beside the list may be shown."""
    path = directory / str(name)
    if path.parent.resolve() != directory.resolve() or path.is_symlink() or not path.is_file():
        raise DataError(f"{directory / INDEX}: no file {name!r} beside it")
    return path


def _table(path: Path) -> list[Part]:
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = (line.rstrip("\n").split("\t") for line in file)
        header = next(rows, [])
        shown = [row for _, row in zip(range(MOST_ROWS), rows, strict=False)]
        more = sum(1 for _ in rows)
    width = max(map(len, [header, *shown]))
    padded = [[*row, *[""] * (width - len(row))] for row in (header, *shown)]
    parts: list[Part] = [Table(padded[0], padded[1:])] if width else []
    if more:
        parts.append(Paragraph(f"{more} more rows are in {markdown(path)}."))
    return parts
