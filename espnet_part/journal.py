"""What a long job has done so far, so that a killed one goes on where it stopped."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from espnet_part.errors import DataError
from espnet_part.files import atomic_write


class Journal:
    """A file of JSON values, one a line, that only grows. One process at a time adds to it.

    Args:
        path: made with its directory when the first value is added.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> Iterator[Any]:
        """All values in the order of their addition, one at a time; all must be taken.

        A line that a kill cut off is removed, a damaged one is passed over: what they said is done
        again.
        """
        whole = 0
        for number, line in enumerate(self._lines(), 1):
            if not line.endswith(b"\n"):
                logging.warning("%s: the last line was cut off and is done again", self.path)
                os.truncate(self.path, whole)
                return
            whole += len(line)
            try:
                if line != b"\n":  # version 0.1 wrote empty ones
                    yield json.loads(line)
            except (ValueError, RecursionError):
                logging.warning("%s: line %d is damaged and done again", self.path, number)

    def peek(self) -> Iterator[Any]:
        """All whole values of a journal that another process may be adding to; nothing is mended."""
        for line in self._lines():
            if not line.endswith(b"\n"):
                return
            with suppress(ValueError, RecursionError):
                yield json.loads(line)

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return

    def add(self, values: Iterable[Any]) -> None:
        """Append values; they are on the disk when this returns.

        Raises:
            DataError: the disk is full, or writing is not permitted.
        """
        with self.appending() as append:
            append(values)

    @contextmanager
    def appending(self) -> Iterator[Callable[..., None]]:
        """A function ``append(values, sync=False)`` for many additions.

        With ``sync`` they are on the disk when it returns, otherwise at the latest when the block
        ends. An OSError in the block counts as one of the journal's.

        Raises:
            DataError: the disk is full, or writing is not permitted.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:

                def append(values: Iterable[Any], sync: bool = False) -> None:
                    file.writelines(map(_line, values))
                    if sync:
                        file.flush()
                        os.fsync(file.fileno())

                yield append
                append([], sync=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def replace(self, values: Iterable[Any]) -> None:
        """Forget everything but ``values``."""
        with atomic_write(self.path, "wb") as file:
            file.writelines(map(_line, values))

    def clear(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def cannot_write(path: Path, error: OSError) -> DataError:
    """What to tell of a full disk or a lacking permission."""
    return DataError(
        f"{path}: cannot be written: {error.strerror}; what was done before is kept: once this is "
        "mended, the same command goes on from here"
    )
