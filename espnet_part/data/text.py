"""Text of corpora and of training targets: spaces, and the named normalisers of training."""

from __future__ import annotations

import re

# What Unicode shows as a gap, of any width, in a line of its own or not, and all controls. Line and
# paragraph separators would end a line of a table.
_GAPS = re.compile(
    "[\\s\x00-\x1f\x7f-\x9f\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)
# What has no width: soft hyphen, zero-width space, marks of direction, word joiner, byte-order mark.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
# The joiners are spelling between letters of Arabic and of the Indic scripts, and noise elsewhere.
_STRAY_JOINER = re.compile(
    "[\u200c\u200d]+(?![\u0600-\u109f\u1780-\u17ff])|(?<![\u0600-\u109f\u1780-\u17ff])[\u200c\u200d]+"
)


def clean_spaces(text: str) -> str:
    """Make every gap one plain space, drop invisible characters and controls, strip the ends.

    A tab, a no-break or ideographic space, a line separator or a control becomes a space;
    zero-width spaces, byte-order marks and marks of direction vanish; the zero-width joiners stay
    only where they are spelling (Persian, Hindi). Letters, marks and punctuation are untouched.
    """
    if text.isascii() and text.isprintable() and "  " not in text:  # nearly every line of millions
        return text.strip()
    text = _STRAY_JOINER.sub("", _INVISIBLE.sub("", text))
    return _GAPS.sub(" ", text).strip()
