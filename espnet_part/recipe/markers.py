"""What is done: a marker says with which key a piece of work ended, and what it made.

A marker is gone before the work starts and whole when it has ended; `NAME.begun`, which stands as
long as the work does, says with which key it began. A piece that was killed is therefore never taken
for done, and whoever reads what it makes can tell that this is unfinished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from espnet_part.files import atomic_write


@dataclass(frozen=True)
class Done:
    """A finished piece: the key that it was done with, and the identity of what it made."""

    key: str
    product: Any


@dataclass(frozen=True)
class Marker:
    """The marker at ``path``."""

    path: Path

    def read(self) -> Done | None:
        """What was done; None where nothing was, or where the file is not a marker."""
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            return Done(str(values["key"]), values["product"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def begun(self) -> str | None:
        """The key of work that began and did not end."""
        try:
            return self._begun.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None

    @property
    def _begun(self) -> Path:
        return self.path.with_name(f"{self.path.name}.begun")

    def begin(self, key: str) -> None:
        """Take the marker away, before the work starts."""
        with atomic_write(self._begun) as file:
            file.write(f"{key}\n")
        self.path.unlink(missing_ok=True)

    def finish(self, key: str, product: Any) -> None:
        """Mark the work as done.

        Args:
            product: what identifies what was made; anything that JSON can hold.
        """
        ended = datetime.now().isoformat(timespec="seconds")
        with atomic_write(self.path) as file:
            json.dump({"key": key, "product": product, "ended": ended}, file, indent=1)
            file.write("\n")
        self._begun.unlink(missing_ok=True)
