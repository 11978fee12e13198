"""Where encoded clips are kept: arks, each with an index that only ever names what is on the disk."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from espnet_part.errors import ConfigError
from espnet_part.files import atomic_write
from espnet_part.journal import Journal, cannot_write
from espnet_part.parsing import read_json


class Place(NamedTuple):
    """Where a clip is: the name of the ark, the offset in it, and how many frames."""

    ark: str
    offset: int
    frames: int


class FeatureStore:
    """An ark and its index, and what other jobs have stored with the same encoder.

    Args:
        directory: made where it is missing.
        identity: of the encoder; what another one wrote goes.
        job: whose ark it is; None for who joins the jobs, while none of them is at work.
    """

    def __init__(self, directory: Path, identity: dict[str, Any], job: int | None):
        directory.mkdir(parents=True, exist_ok=True)
        own = "" if job is None else f".{job}"
        self._ark = directory / f"feats{own}.ark"
        self._journal = Journal(directory / f"feats{own}.jsonl")
        self._all = [(self._ark, self._journal)]
        for made_with in sorted(directory.glob("encoder*.json")):
            name = made_with.name.removeprefix("encoder").removesuffix(".json")
            if name == own or not re.fullmatch(r"(\.\d+)?", name):
                continue
            ark, index = directory / f"feats{name}.ark", directory / f"feats{name}.jsonl"
            if _read_identity(made_with) == identity:
                self._all.append((ark, Journal(index)))
            elif job is None:
                for path in (made_with, index, ark):
                    path.unlink(missing_ok=True)
        made_with = directory / f"encoder{own}.json"
        before = _read_identity(made_with)
        if before == identity:
            self._mend()
            return
        if before is not None:
            logging.warning("%s: made with another encoder: starting over", directory)
        for path in (directory / "feats.scp", self._journal.path, self._ark):
            path.unlink(missing_ok=True)
        with atomic_write(made_with) as file:
            json.dump(identity, file, indent=1)
            file.write("\n")

    def _mend(self) -> None:
        """Cut off what a kill left half written."""
        lines = sum(1 for _ in self._journal.read())
        end = good = 0
        for _, _, _, stop in _entries(self._ark, self._journal):
            end, good = max(end, stop), good + 1
        if good < lines:  # untrue lines would become true again as the ark grows
            self._journal.replace(_entries(self._ark, self._journal))
        if self._ark.exists() and end < self._ark.stat().st_size:
            os.truncate(self._ark, end)

    def entries(self) -> Iterator[tuple[str, Place]]:
        """The keys of all clips that are stored, and where they are; one may be in two arks."""
        for ark, journal in self._all:
            for key, offset, frames, _ in _entries(ark, journal):
                yield key, Place(ark.name, offset, frames)

    def add(self, encoded: Sequence[tuple[str, np.ndarray]]) -> None:
        """Append matrices; they and their index are on the disk when this returns.

        Raises:
            DataError: the disk is full, or writing is not permitted.
        """
        from kaldiio.matio import write_array

        lines = []
        try:
            with self._ark.open("ab") as ark:
                for key, matrix in encoded:
                    ark.write(f"{key} ".encode())
                    offset = ark.tell()
                    write_array(ark, np.ascontiguousarray(matrix, dtype=np.float32))
                    lines.append((key, offset, len(matrix), ark.tell()))
                ark.flush()
                os.fsync(ark.fileno())
        except OSError as error:
            raise cannot_write(self._ark, error) from None
        self._journal.add(lines)


def _read_identity(path: Path) -> Any:
    """What an encoder.json says; None where there is none that can be read."""
    try:
        return read_json(path)
    except ConfigError:
        return None


def _entries(ark: Path, journal: Journal) -> Iterator[list[Any]]:
    """Those lines of an index, [key, offset, frames, stop], that name what is in its ark."""
    size = ark.stat().st_size if ark.exists() else 0
    for line in journal.peek():
        if _is_entry(line) and line[3] <= size:
            yield line


def _is_entry(line: Any) -> bool:
    return isinstance(line, list) and [type(value) for value in line] == [str, int, int, int]
