"""Engines: what continues the prompts that encoder and adapter have made.

An engine is a folder of this package; its name is the folder's. Each has a class ``Engine`` with the
interface of `espnet_part.decode.engines.base.Engine`. Importing this package imports no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

from espnet_part.errors import ConfigError

if TYPE_CHECKING:
    from espnet_part.decode.engines.base import Engine

DEFAULT = "transformers"


def names() -> list[str]:
    """The names of all engines."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def find(name: str) -> type[Engine]:
    """An engine's class.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"engine: must be {' or '.join(names())}, not {name!r}")
    return cast("type[Engine]", importlib.import_module(f"{__name__}.{name}").Engine)
