"""What can be wrong in a recipe's options and files, found before its first stage does anything."""

from __future__ import annotations

from pathlib import Path

from espnet_part.config import ConfigError


def check_files(**files: str) -> None:
    """Refuse options that name files which are not there; an empty one names none.

    Raises:
        ConfigError: names the option and the file.
    """
    for option, path in files.items():
        if path and not Path(path).is_file():
            raise ConfigError(f"--{option} {path}: no such file")
