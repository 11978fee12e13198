"""The names of a million clips: which are there, asked once and kept small."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from espnet_part.errors import DataError


class NameSet:
    """A set of names in 8 bytes each: their hashes, sorted.

    Two different names are taken for one with a probability of about n / 2^64 a question.
    """

    def __init__(self, names: Iterable[str]) -> None:
        hashes = array("q", (hash(name) for name in names))
        np.frombuffer(hashes, dtype=np.int64).sort()  # in place
        self._hashes = hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, name: str) -> bool:
        wanted = hash(name)
        place = bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted


def clip_stem(path: str) -> str:
    """The name by which a clip is known in all releases and in CoVoST 2: without its ending, which
    the first releases' tables leave out."""
    return path.strip().removesuffix(".mp3")


def list_directory(directory: Path) -> NameSet:
    """The names in a directory, by one reading of it.

    Raises:
        DataError: there is no such directory.
    """
    try:
        with os.scandir(directory) as entries:
            return NameSet(entry.name for entry in entries)
    except OSError as error:
        raise DataError(f"{directory}: cannot be listed: {error.strerror}") from None
