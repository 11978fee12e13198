"""What other installed packages add, through entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from espnet_part.display import plain
from espnet_part.errors import ConfigError


def plugin_names(group: str) -> list[str]:
    """Names of the entry points of a group."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load_plugin(group: str, name: str) -> Any:
    """What the entry point ``name`` of ``group`` names: a module, or something in it.

    Raises:
        ConfigError: names it and the package that it is from: it cannot be imported, or has not
            got it.
        KeyError: there is no such entry point.
    """
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:  # whatever another's code raises
                raise ConfigError(
                    f"{describe_plugin(group, name)} cannot be loaded: {describe_failure(error)}"
                ) from None
    raise KeyError(name)


def describe_plugin(group: str, name: str) -> str:
    """An entry point and the installed package that it is from, for messages."""
    for entry in entry_points(group=group):
        if entry.name == name:
            package = f" of the package {entry.dist.name}" if entry.dist else ""
            return f"the entry point {name} of {group} ({entry.value}{package})"
    return f"the entry point {name} of {group}"


def describe_failure(error: Exception) -> str:
    """What another package's code raised, in a line."""
    return plain(f"{type(error).__name__}: {' '.join(str(error).split())}", 300)
