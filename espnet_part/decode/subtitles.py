"""Subtitles in SubRip form (.srt) and as WebVTT (.vtt), from text with the time at which it was said.

Lines have at most 42 columns, the common limit of broadcasters, and a Chinese, Japanese or Korean
character counts for two; a cue has two lines. Where a window's text needs several cues, they share
its time in proportion to their text, for the model does not tell when each word was said.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from espnet_part.decode.lines import one_line

COLUMNS = 42
_LINES = 2
_LONGEST = 7.0  # seconds of a cue whose text can be divided
_SHORTEST = 1.0  # seconds for which a cue is shown where the next one leaves room
_SHARE = 100  # milliseconds; text is not divided into shorter cues than this

# a line should end behind the marks of the first group rather than of the second
_STOPS, _COMMAS = ".!?…。！？", ",;:，、；：—–"
_NOT_FIRST = _STOPS + _COMMAS + ")]}»”’％%）」』】》〉ー々っゃゅょッャュョ"
_NOT_LAST = "([{«„“‘（「『【《〈"


class Cue(NamedTuple):
    """Text, without controls or line ends, and its time in seconds."""

    start: float
    end: float
    text: str


def to_srt(cues: Iterable[Cue]) -> str:
    """Subtitles as the content of an .srt file.

    Args:
        cues: in order; empty ones are left out, long ones are divided.

    Returns:
        Numbered blocks; empty where there is no text. Each cue lasts at least a millisecond and
        ends before, or when, the next one starts.
    """
    return "\n".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n"
        for number, (start, end, text) in enumerate(_blocks(cues), 1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """Subtitles as the content of a .vtt file: the cues of `to_srt`, with what is markup escaped."""
    return "\n".join(
        [
            "WEBVTT\n",
            *(
                f"{_clock(start, '.')} --> {_clock(end, '.')}\n{escape(text, quote=False)}\n"
                for start, end, text in _blocks(cues)
            ),
        ]
    )


def _blocks(cues: Iterable[Cue]) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and lines, of what is shown at once."""
    timed: list[tuple[int, int, str]] = []
    for cue in cues:
        # an arrow is what tells a line of times from text
        text = re.sub("-->", "→", re.sub(r"\s+", " ", one_line(cue.text)))
        start, end = round(cue.start * 1000), round(cue.end * 1000)
        if timed:
            start = max(start, timed[-1][1])
        if text:
            timed += _divide(text, start, max(end, start + 1))
    blocks = []
    for number, (start, end, text) in enumerate(timed, 1):
        if end - start < 1000 * _SHORTEST:
            room = timed[number][0] if number < len(timed) else start + 1000
            end = max(end, min(room, round(start + 1000 * _SHORTEST)))
        blocks.append((start, end, "\n".join(wrap(text))))
    return blocks


def wrap(text: str, columns: int = COLUMNS) -> list[str]:
    """Break a text into the fewest lines of at most ``columns``, of about the same length.

    A word is broken only where it is wider than a line; between Chinese, Japanese and Korean
    characters a line may break where their rules of typesetting allow.
    """
    units = _units(text, columns)
    count = len(_fill(units, columns))
    # the narrowest lines that do not take more of them
    low, high = 1, columns
    while low < high:
        middle = (low + high) // 2
        if len(_fill(units, middle)) <= count:
            high = middle
        else:
            low = middle + 1
    return _fill(units, low)


def width(text: str) -> int:
    """Columns that a text takes."""
    return sum(map(_width, text))


def _divide(text: str, start: int, end: int) -> list[tuple[int, int, str]]:
    """Halve a cue, at the best place near its middle, until each part can be shown."""
    fits = len(wrap(text)) <= _LINES
    slow = end - start > 1000 * _LONGEST and width(text) > COLUMNS
    units = _units(text, COLUMNS)
    if (fits and not slow) or len(units) < 2:
        return [(start, end, text)]
    positions = list(itertools.accumulate(map(width, units)))
    total = positions[-1]

    def cost(cut: int) -> float:
        last = units[cut - 1].rstrip()[-1:]
        bonus = 0.25 if last in _STOPS else 0.15 if last in _COMMAS else 0.0
        return abs(positions[cut - 1] / total - 0.5) - bonus

    cut = min(range(1, len(units)), key=cost)
    middle = start + round((end - start) * positions[cut - 1] / total)
    if min(middle - start, end - middle) < _SHARE:
        return [(start, end, text)]
    first, second = "".join(units[:cut]).strip(), "".join(units[cut:]).strip()
    return [*_divide(first, start, middle), *_divide(second, middle, end)]


def _units(text: str, columns: int) -> list[str]:
    """What a line is made of: words with the space behind them, or single wide characters."""
    units: list[str] = []
    for char in text:
        previous = units[-1] if units else " "
        if (
            not units
            or (previous.endswith(" ") and char != " ")
            or _may_break(previous[-1], char)
            or (width(previous) + _width(char) > columns and char != " ")
        ):
            units.append(char)
        else:
            units[-1] += char
    return units


def _may_break(left: str, right: str) -> bool:
    """Whether a line may break between two characters of a text without spaces."""
    if right == " " or right in _NOT_FIRST or left in _NOT_LAST or unicodedata.combining(right):
        return False
    # Korean is wide, but has words
    return any(_width(char) == 2 and not "\uac00" <= char <= "\ud7a3" for char in (left, right))


def _fill(units: list[str], columns: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for unit in units:
        if line and width((line + unit).rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
        line += unit
    return [*lines, line.rstrip()] if line.strip() else lines


def _width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _clock(milliseconds: int, point: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{milliseconds:03d}"
