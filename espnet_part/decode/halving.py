"""Running batches: one that fails is halved, so that a bad item does not take the others with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from espnet_part.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_or_name(
    items: Sequence[Item], run: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[tuple[Item, Result | None, str]]:
    """Run a batch; where that fails, halve it until what fails stands alone.

    A batch that does not fit into the memory is thus run in halves.

    Args:
        items: the batch.
        run: gives one result an item; may raise anything.

    Returns:
        (item, result, "") or (item, None, reason of the failure), in the order of ``items``.
    """
    if not items:
        return []
    reason = ""
    results: Sequence[Result] = []
    try:
        results = run(items)
    except Exception as error:  # whatever one item provokes must not end the others
        reason = reason_of(error)
        logging.debug("a batch failed", exc_info=True)
    if not reason:
        return [(item, result, "") for item, result in zip(items, results, strict=True)]
    # outside the handler: the traceback would hold on to the failed batch's memory
    if len(items) == 1:
        return [(items[0], None, reason)]
    free_memory()
    logging.info("a batch of %d failed and is halved: %s", len(items), reason)
    half = len(items) // 2
    return run_or_name(items[:half], run) + run_or_name(items[half:], run)


def reason_of(error: Exception) -> str:
    """One line that says why an item failed."""
    if isinstance(error, UserError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def free_memory() -> None:
    """Give a GPU's unused memory back."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
