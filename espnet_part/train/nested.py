"""States are nested: dicts, lists and tuples that hold tensors and plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def map_tensors(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """``value`` anew, with the ``function`` of each of its tensors in its place."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [map_tensors(function, item) for item in value]
        return value._make(items) if hasattr(value, "_make") else type(value)(items)
    return value
