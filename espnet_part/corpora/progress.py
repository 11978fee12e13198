"""Progress over lines of a corpus: how many there were, for nobody knows how many there will be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from espnet_part.progress import open_bar

Item = TypeVar("Item")


def progress(items: Iterable[Item], label: str) -> Iterator[Item]:
    """Yield the items and show how many there were.

    Args:
        label: stands before the count on stderr.
    """
    with open_bar(label, unit="lines") as bar:
        for item in items:
            yield item
            bar.update()
