"""Decoded text as part of a line of ESPnet's files."""

from __future__ import annotations

import re

# what would end or split a line of ESPnet's files: controls, Unicode's line ends, byte-order mark
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")


def one_line(text: str) -> str:
    """A hypothesis as the value of a line: controls and line ends become spaces."""
    return _BREAKS.sub(" ", text).strip()


def one_word(token: str) -> str:
    """A token as a word of a line; white space becomes ESPnet's `<space>`."""
    return re.sub(r"\s+", "<space>", _BREAKS.sub(" ", token)) or "<blank>"
