"""A progress bar over lines of a corpus: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and show how many there were.

    Args:
        label: stands before the bar on stderr.
        total: how many there will be, where that is known.
    """
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 10.0
    yield from tqdm(items, desc=label, total=total, mininterval=interval, unit=" lines")
