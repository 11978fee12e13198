"""What other installed packages add, through entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from espnet_part.errors import ConfigError


def plugin_names(group: str) -> list[str]:
    """Names of the entry points of a group."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load_plugin(group: str, name: str) -> Any:
    """What the entry point ``name`` of ``group`` names: a module, or something in it.

    Raises:
        ConfigError: it cannot be imported, or has not got it.
        KeyError: there is no such entry point.
    """
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                return entry.load()
            except (ImportError, AttributeError, ValueError) as error:
                raise ConfigError(
                    f"the entry point {name} of {group} ({entry.value}) cannot be loaded: {error}"
                ) from None
    raise KeyError(name)
