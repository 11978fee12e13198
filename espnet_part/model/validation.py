"""What the dataclasses of model settings check alike; errors name the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

#: For `pydantic.dataclasses.dataclass(config=...)`: an unknown key is an error.
STRICT = pydantic.ConfigDict(extra="forbid")


def exactly_one(name: str | None, config: Mapping[str, Any] | None) -> None:
    """A base model comes from a name or from sizes."""
    if name is None and config is None:
        raise ValueError(
            "give `name` (a hub name or a directory) or `config` (sizes, for random weights)"
        )
    if name is not None and config is not None:
        raise ValueError("give `name` or `config`, not both")


def divides(heads: int, dim: int, heads_key: str, dim_key: str) -> None:
    """A width must be shared among heads."""
    if heads <= 0 or dim % heads:
        raise ValueError(f"`{heads_key}` ({heads}) must divide `{dim_key}` ({dim})")


def positive(conf: Any, *keys: str) -> None:
    """Values of ``conf`` above zero."""
    for key in keys:
        if getattr(conf, key) <= 0:
            raise ValueError(f"`{key}` must be positive (got {getattr(conf, key)!r})")


def share(conf: Any, *keys: str) -> None:
    """Values of ``conf`` in [0, 1)."""
    for key in keys:
        if not 0 <= getattr(conf, key) < 1:
            raise ValueError(f"`{key}` must be in [0, 1) (got {getattr(conf, key)!r})")
