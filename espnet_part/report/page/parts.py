"""What sections of report.html are made of, beside the blocks of `espnet_part.document`.

Texts are plain and foreign; the template escapes them. Only `Picture.svg` is markup, and it is drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from espnet_part.document import Block

LEGEND = (
    "Struck through: in the reference, and not in the output. Underlined: in the output, and not in the "
    "reference."
)
"""Of marked differences."""

Mark = Literal["same", "missing", "added"]


@dataclass(frozen=True)
class Picture:
    """A drawing of ours, with what it shows in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Image:
    """A picture that another command made, as a data URI."""

    source: str
    caption: str


@dataclass(frozen=True)
class Output:
    """What a system wrote, in pieces: what the reference has too, lacks or has alone.

    Attributes:
        marked: (kind, words) in the order of reading; several words of a kind are one piece.
        figure: how good it is, such as "2 errors".
        between: what parts the pieces: a space, or nothing where characters are compared.
    """

    system: str
    marked: Sequence[tuple[Mark, str]]
    figure: str = ""
    between: str = " "


@dataclass(frozen=True)
class Utterance:
    """A test utterance: what was said, and what systems made of it.

    Attributes:
        kind: its task and languages.
        language: that is written.
        said: the transcript of what is heard or read, where it is another text than the reference.
        player: the audio as a data URI.
        silent: why there is no player, "" where there is nothing to hear.
    """

    name: str
    kind: str
    language: str
    reference: str
    outputs: Sequence[Output]
    said: str = ""
    player: str = ""
    silent: str = ""


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when asked for."""

    title: str
    parts: Sequence[Part]


Part = Block | Picture | Image | Utterance | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page with an anchor and an entry in its list of contents."""

    anchor: str
    title: str
    parts: Sequence[Part] = field(default_factory=tuple)
