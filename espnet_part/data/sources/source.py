"""What a kind of source is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one piece of audio.

    Attributes:
        file: holds these bytes and no others; can be sought in.
        path: a file of this machine that is just these bytes, None where there is none.
    """

    file: BinaryIO
    path: str | None = None


class Source(Protocol):
    """A kind of entry of ``wav.scp``."""

    def matches(self, spec: str) -> bool:
        """Whether an entry is of this kind."""

    def container(self, spec: str) -> str:
        """The file or URL that the audio is in: the beginning of the entry, or all of it."""

    def open(self, spec: str) -> AbstractContextManager[Content]:
        """Open the audio's bytes; no more is read than is asked for.

        Raises:
            OSError: cannot be opened or read.
            ValueError: is not there, or not whole; the message says what is wrong.
        """
