"""Many files as one word of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from espnet_part.data.sources import is_url
from espnet_part.errors import ConfigError

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
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
    names = [pattern]
    while match := _RANGE.search(names[0]):
        first, last = int(match[1]), int(match[2])
        if not 0 < (last - first + 1) * len(names) <= _MOST:
            raise ConfigError(
                f"{option} {pattern}: from {first} to {last}; at most {_MOST:,} files"
            )
        numbers = [str(n).zfill(len(match[1])) for n in range(first, last + 1)]
        names = [_RANGE.sub(number, name, count=1) for name in names for number in numbers]
    return names
