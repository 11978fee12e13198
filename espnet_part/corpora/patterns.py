"""Many files as one word of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from espnet_part.data.sources import is_url
from espnet_part.errors import ConfigError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 1_000_000


def find_files(option: str, patterns: Sequence[str]) -> list[str]:
    """Paths, patterns with ``*``, and ``{000..127}`` in paths and URLs; each file once.

    Raises:
        ConfigError: a pattern that nothing matches; names ``option``.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        names = _expand(option, pattern)
        if not is_url(pattern) and any(mark in pattern for mark in "*?["):
            names = [path for name in names for path in _glob(name)]
        if not names:
            raise ConfigError(f"{option} {pattern}: no such file")
        found.update(dict.fromkeys(names))
    return list(found)


def _glob(pattern: str) -> list[str]:
    path = Path(pattern)
    return sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))


def _expand(option: str, pattern: str) -> list[str]:
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MOST:
        raise ConfigError(f"{option} {pattern}: from {first} to {last}")
    numbers = (str(n).zfill(len(match[1])) for n in range(first, last + 1))
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [found for number in numbers for found in _expand(option, f"{head}{number}{tail}")]
