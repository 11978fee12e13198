"""Text of corpora and of training targets: spaces, and the named normalisers of training."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from espnet_part.errors import ConfigError, did_you_mean

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

_SPOKEN = frozenset("%\u2030&@#\u00a7")  # punctuation to Unicode, words to a speaker
_IN_NUMBERS = frozenset(".,:")
_APOSTROPHES = {"'": "'", "\u2019": "'", "\u05f3": "\u05f3", "\u05f4": "\u05f4"}  # and Hebrew's
_MARK = "\x00"  # stands where punctuation was; `clean_spaces` leaves none in a text
# Characters of Chinese and Japanese, between which no space is written.
_UNSPACED = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_MARK_UNSPACED = re.compile(f"(?<=[{_UNSPACED}]) ?{_MARK}[{_MARK} ]*(?=[{_UNSPACED}])")


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


def keep(text: str) -> str:
    """The text as the corpus has it."""
    return text


def nfkc(text: str) -> str:
    """Unicode's compatibility form: full-width letters and digits become plain ones, ligatures
    letters, half-width kana whole ones; gaps become one space."""
    return clean_spaces(unicodedata.normalize("NFKC", text))


def lower(text: str) -> str:
    """`nfkc`, in lower case."""
    return nfkc(nfkc(text).lower())  # a few letters in lower case have a compatibility form again


def lower_no_punctuation(text: str) -> str:
    """`lower` without punctuation, which is Unicode's category P.

    What is spoken stays: symbols (+ € °), % ‰ & @ # §, and . , : between digits. What belongs to a
    word stays: an apostrophe between letters, and all combining marks. Any other mark becomes a
    space, or nothing between two characters of Chinese or Japanese.
    """
    text = lower(text)
    if not any(unicodedata.category(c)[0] == "P" for c in set(text)):
        return text
    padded = f" {text} "
    kept = [
        _without_punctuation(padded[i - 1], padded[i], padded[i + 1])
        for i in range(1, len(padded) - 1)
    ]
    return clean_spaces(_MARK_UNSPACED.sub("", "".join(kept)))


def _without_punctuation(before: str, mark: str, after: str) -> str:
    if unicodedata.category(mark)[0] != "P" or mark in _SPOKEN:
        return mark
    if mark in _IN_NUMBERS and before.isdecimal() and after.isdecimal():
        return mark
    if mark in _APOSTROPHES and before.isalpha() and after.isalpha():
        return _APOSTROPHES[mark]
    return _MARK


#: Name -> normaliser of the targets that a model is trained on. Scoring has its own.
TEXT_NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "none": keep,
    "nfkc": nfkc,
    "lower": lower,
    "lower_no_punctuation": lower_no_punctuation,
}


def text_normalizer(name: str) -> Callable[[str], str]:
    """The normaliser of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return TEXT_NORMALIZERS[name]
    except KeyError:
        raise ConfigError(f"text normaliser: {did_you_mean(name, TEXT_NORMALIZERS)}") from None
