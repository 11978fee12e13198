"""A report as data: headings, paragraphs, lists and tables, of which Markdown and HTML are made.

A text is Markdown of one line, as `espnet_part.display` writes it; only in a `Table` is a cell that
is no `Markup` plain text. `str` of each is its Markdown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from espnet_part.display import Markup, cell


@dataclass(frozen=True)
class Heading:
    """A heading of Markdown's level 1 to 6."""

    level: int
    text: str

    def __str__(self) -> str:
        return f"{'#' * self.level} {self.text}"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Bullets:
    """A list; one among its items stands under the item before it."""

    items: Sequence[str | Bullets]

    def __str__(self) -> str:
        return "\n".join(
            "  " + str(item).replace("\n", "\n  ") if isinstance(item, Bullets) else f"- {item}"
            for item in self.items
        )


@dataclass(frozen=True)
class Table:
    """A table; true where it has a row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def __str__(self) -> str:
        lines = [self.header, [Markup("---")] * len(self.header), *self.rows]
        return "\n".join("|" + "|".join(map(cell, line)) + "|" for line in lines)


Block = Heading | Paragraph | Bullets | Table


def to_markdown(blocks: Iterable[Block]) -> str:
    """The Markdown of blocks, with an empty line between them and none at the end."""
    return "\n\n".join(map(str, blocks))


def aligned_table(rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Rows as a Markdown table that a terminal shows as one; the first is the header. Cells are not escaped.

    Args:
        numbers: Columns that are aligned at the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    aligned = [
        [
            cell.rjust(w) if i in numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    lines = [f"| {' | '.join(row)} |" for row in aligned]
    rules = ["-" * (w + 1) + (":" if i in numbers else "-") for i, w in enumerate(widths)]
    return "\n".join([lines[0], f"|{'|'.join(rules)}|", *lines[1:]])
