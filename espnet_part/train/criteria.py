"""The criteria by which models are chosen and rates adapted, checked against what a training reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SPLITS = ("train", "valid")


def criterion_errors(options: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    """What is wrong with the criteria among the options of a training of ``tasks``."""
    keys = [f"{kind}{end}" for kind in ("acc", "loss") for end in ("", *(f"_{t}" for t in tasks))]
    errors = []
    pairs = f"train or valid, and one of {', '.join(sorted(keys))}"
    rated = options.get("val_scheduler_criterion")
    if rated is not None and not _is_pair(rated, keys):
        errors.append(f"val_scheduler_criterion: {_shown(rated)} must be {pairs}")
    chosen = options.get("best_model_criterion")
    if chosen is not None and not isinstance(chosen, (list, tuple)):
        errors.append(
            f"best_model_criterion: must be a list such as [[valid, acc, max]]: {chosen!r}"
        )
        return errors
    for criterion in chosen or ():
        of_three = isinstance(criterion, (list, tuple)) and len(criterion) == 3
        if not (of_three and criterion[2] in ("min", "max") and _is_pair(criterion[:2], keys)):
            errors.append(
                f"best_model_criterion: {_shown(criterion)} must be train or valid, one of "
                f"{', '.join(sorted(keys))}, and min or max"
            )
    return errors


def _is_pair(criterion: Any, keys: Sequence[str]) -> bool:
    of_two = isinstance(criterion, (list, tuple)) and len(criterion) == 2
    return of_two and criterion[0] in _SPLITS and criterion[1] in keys


def _shown(criterion: Any) -> Any:
    return list(criterion) if isinstance(criterion, (list, tuple)) else repr(criterion)
