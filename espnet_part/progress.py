"""Progress as its reader can use it: a bar on a terminal, plain lines now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")

INTERVAL = 15.0
"""Seconds between lines in a log file."""


def open_bar(
    label: str, total: int | None = None, unit: str = "", scale: bool = False, disable: bool = False
) -> Any:
    """A tqdm bar where stderr is a terminal, and `Lines` elsewhere.

    Args:
        label: what is being done.
        total: how many there will be; None where nobody knows it for certain.
        unit: what is counted.
        scale: show thousands, millions, … of the unit.
        disable: show nothing.
    """
    if not sys.stderr.isatty():
        return Lines(label, total, unit, scale, disable)
    from tqdm import tqdm

    space = "" if scale or not unit else " "
    return tqdm(
        desc=label, total=total, unit=f"{space}{unit or 'it'}", unit_scale=scale, disable=disable
    )


def counted(items: Iterable[Item], label: str, unit: str = "lines") -> Iterator[Item]:
    """Yield items of which nobody knows how many there will be, and show how many there were."""
    with open_bar(label, unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


class Lines:
    """Counts as a tqdm bar does, and prints a line every `INTERVAL` seconds and at the end."""

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "",
        scale: bool = False,
        disable: bool = False,
    ):
        self.label = label
        self.total = total
        self.unit = unit
        self.scale = scale
        self.disable = disable
        self.n = 0
        self.said = ""  # what stands behind the counts
        self.start = self.printed = time.monotonic()
        self.closed = False

    def update(self, n: int = 1) -> None:
        """Tell that so many more are done."""
        self.n += n
        now = time.monotonic()
        if not self.disable and now - self.printed >= INTERVAL:
            self.printed = now
            self._print(self.line(now - self.start))

    def set_postfix(self, **values: object) -> None:
        """Show values behind the counts, from the next line on."""
        self.said = "".join(f", {name} {value}" for name, value in values.items())

    def line(self, elapsed: float) -> str:
        """The state in words."""
        if not self.total:
            return f"{self._count(self.n)}, {clock(elapsed)} so far{self.said}"
        left = elapsed * (self.total - self.n) / max(self.n, 1)
        return (
            f"{self._count(self.n, self.total)}, {100 * self.n / self.total:.0f} %, "
            f"{clock(elapsed)} so far, ETA {clock(max(left, 0.0))}{self.said}"
        )

    def close(self) -> None:
        """Print how many there were."""
        if not (self.disable or self.closed):
            whole = self.total in (None, self.n)
            counted = self._count(self.n) if whole else self._count(self.n, self.total)
            self._print(f"{counted} in {clock(time.monotonic() - self.start)}{self.said}")
        self.closed = True

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _count(self, n: int, total: int | None = None) -> str:
        counted = self._number(n) + (f"/{self._number(total)}" if total is not None else "")
        return f"{counted} {self.unit}".rstrip()

    def _number(self, n: int) -> str:
        if self.scale:
            for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
                if n >= size:
                    return f"{n / size:.1f}{prefix}"
        return str(n)

    def _print(self, line: str) -> None:
        # one write: lines of other processes come before it or after it
        sys.stderr.write(f"{self.label}: {line}\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
