"""Foreign text (ids, texts, titles, names in somebody's file) as it may be shown.

What others wrote can hold escape sequences that move a terminal's cursor, marks that turn the direction
of writing, and Markdown or HTML that a page would obey. Each place where text comes out has its function
here: `plain` for a terminal, a log and an error, `markdown` for a table, a heading or a paragraph.
"""

from __future__ import annotations

import re
import unicodedata

#: Control, format (direction of writing, zero width), surrogates, private use, line and paragraph ends.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
#: Joiners that spelling needs: Persian and the scripts of India are written with them.
_JOINERS = "\u200c\u200d"
#: An underscore or a tilde inside a word marks nothing up.
_MARKUP = re.compile(r"[\\`*\[\]<>|$&]|(?<![^\W_])_|_(?![^\W_])|~~")
#: What begins a list, a number of a list, a rule or a quotation where a line starts.
_START = re.compile(r"^(\s*)([-+=#]|\d+[.)])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: object, limit: int | None = None) -> str:
    r"""Text for a terminal, a log or an error: what cannot be seen is written as ``\x1b`` or ``\u202e``.

    Args:
        text: anything that has a `str`.
        limit: characters shown at most; the rest becomes "… (N characters)".
    """
    whole = str(text)
    shown = whole if limit is None else whole[:limit]
    if not shown.isascii() or not shown.isprintable():
        shown = "".join(map(_visible, shown))
    return shown if len(whole) == len(whole[:limit]) else f"{shown}… ({len(whole)} characters)"


def markdown(text: object, limit: int | None = None) -> str:
    """Text for Markdown that shows what it says: no markup, no HTML, no new cell or line."""
    return _START.sub(_escape_start, _MARKUP.sub(_escape, plain(text, limit)))


class Markup(str):
    """Text that is Markdown already, for `cell`."""

    __slots__ = ()


def code(text: object) -> Markup:
    """Text in Markdown's fixed type; backticks, which would end it, become apostrophes."""
    return Markup(f"`{plain(text).replace('`', chr(39))}`")


def sentence(text: str) -> Markup:
    """A sentence of ours with foreign words in it: what stands between backticks is `code`."""
    parts = text.split("`")
    shown = [
        code(part) if n % 2 and n + 1 < len(parts) else markdown(part)
        for n, part in enumerate(parts)
    ]
    return Markup("".join(shown))


def cell(text: str) -> str:
    """Text in a table: `Markup` as it is but for bars, all else as what it says."""
    if isinstance(text, Markup):
        return text.replace("|", "\\|")
    return _MARKUP.sub(_escape, plain(text))


def value(found: object, limit: int = 60) -> str:
    """The `repr` of a value that was found where another belongs, cut to a line."""
    if isinstance(found, int) and not isinstance(found, bool) and found.bit_length() > 200:
        return f"a whole number of {found.bit_length()} bits"  # Python may refuse to write it
    try:
        return plain(repr(found), limit)
    except (ValueError, RecursionError):
        return f"a {type(found).__name__}"


def _visible(character: str) -> str:
    if character == " " or character in _JOINERS:
        return character
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape(found: re.Match[str]) -> str:
    marks = found.group()
    return _ENTITIES.get(marks, "".join(f"\\{mark}" for mark in marks))


def _escape_start(found: re.Match[str]) -> str:
    space, mark = found.groups()
    return f"{space}{mark[:-1]}\\{mark[-1]}"
