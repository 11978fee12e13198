"""What `part_analyze` has found: its pictures and tables, by the list that it leaves."""

from __future__ import annotations

import base64
import csv
from pathlib import Path
from typing import Any

from espnet_part.display import markdown
from espnet_part.document import Heading, Paragraph, Table
from espnet_part.errors import DataError
from espnet_part.parsing import read_json
from espnet_part.report.page.parts import Image, Part

INDEX = "analysis.json"
LARGEST_BYTES = 1_500_000
"""Of the pictures of a page together."""
MOST_ROWS = 200
_PNG = b"\x89PNG\r\n\x1a\n"


def analysis_parts(directory: Path) -> list[Part]:
    """A heading, a picture and a table for each entry of analysis.json.

    Raises:
        UserError: the list or what it names cannot be read.
    """
    entries = read_json(directory / INDEX)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{directory / INDEX}: must be a list of entries")
    parts: list[Part] = []
    left = LARGEST_BYTES
    for entry in entries:
        parts.append(Heading(3, markdown(entry.get("title", ""))))
        caption = str(entry.get("caption", ""))
        if entry.get("picture"):
            content = _file(directory, entry["picture"]).read_bytes()
            if not content.startswith(_PNG):
                raise DataError(f"{directory / entry['picture']}: is no PNG")
            if len(content) > left:
                parts.append(Paragraph(markdown(f"{entry['picture']} is too large for this page.")))
            else:
                left -= len(content)
                encoded = base64.b64encode(content).decode("ascii")
                parts.append(Image(f"data:image/png;base64,{encoded}", caption))
        elif caption:
            parts.append(Paragraph(markdown(caption)))
        if entry.get("table"):
            parts += _table(_file(directory, entry["table"]))
    return parts


def _file(directory: Path, name: Any) -> Path:
    """A file that the list names; only one beside the list may be shown."""
    path = directory / str(name)
    if path.parent.resolve() != directory.resolve() or path.is_symlink() or not path.is_file():
        raise DataError(f"{directory / INDEX}: no file {name!r} beside it")
    return path


def _table(path: Path) -> list[Part]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(rows, [])
        shown = [row for _, row in zip(range(MOST_ROWS), rows, strict=False)]
        more = sum(1 for _ in rows)
    width = max(map(len, [header, *shown]))
    padded = [[*row, *[""] * (width - len(row))] for row in (header, *shown)]
    parts: list[Part] = [Table(padded[0], padded[1:])] if width else []
    if more:
        parts.append(Paragraph(f"{more} more rows are in {markdown(path)}."))
    return parts
