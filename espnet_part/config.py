"""Configuration: YAML with inheritance, and strict typed dataclasses."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from espnet_part.display import plain, value
from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.parsing import read_yaml
from espnet_part.phases import Find, change_phases, named

T = TypeVar("T")
_Path = tuple[int | str, ...]
_MOST_FAULTS = 5
_MOST_VALUES = 10_000
_LONGEST_CHAIN = 20


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Load a YAML mapping; with ``base: other.yaml`` it is laid over that file's mapping.

    ``base`` is relative to the directory that the file is named in, through links: a directory that many
    recipes link to takes each recipe's own files from beside the link. Mappings are merged key by key, a
    null deletes a key, everything else replaces. ``phases`` given as a mapping {phase name: change}
    changes the base's phases (see `espnet_part.phases`).

    Raises:
        ConfigError: missing or unreadable file, no mapping, duplicate key, circular ``base``.
    """
    return _load(Path(path), (), {})


def _load(path: Path, parents: tuple[Path, ...], seen: dict[Path, Any]) -> dict[str, Any]:
    """See `load_yaml`; ``seen`` holds what each file came to, since many phases may name the same."""
    if path in parents:
        raise ConfigError(f"{path}: `base` goes round in a circle")
    if len(parents) > _LONGEST_CHAIN:
        raise ConfigError(f"{path}: lies below more than {_LONGEST_CHAIN} files by their `base`")
    if path not in seen:
        seen[path] = _read(path, (*parents, path), seen)
    return seen[path]


def _read(path: Path, parents: tuple[Path, ...], seen: dict[Path, Any]) -> dict[str, Any]:
    content = read_yaml(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, not a {type(content).__name__}")
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: must be the name of a file, not {value(base)}")

    def find(name: str) -> list[dict[str, Any]]:
        file, _, phase = name.partition(":")
        other = _beside(path, file)
        phases = named(_load(other, parents, seen).get("phases"), str(other))
        chosen = [p for p in phases if phase in ("", p["name"])]
        if not chosen:
            known = [p["name"] for p in phases]
            raise ConfigError(f"{path}: {file}: phases: {did_you_mean(phase, known)}")
        return chosen

    return _merge(_load(_beside(path, base), parents, seen), content, str(path), find)


def _beside(path: Path, name: str) -> Path:
    # normalised as text: the system would follow a link of `path` before it goes up
    beside = os.path.normpath(path.parent / name)
    goes_up = beside.startswith(os.pardir) and not str(path).startswith(os.pardir)
    if goes_up:  # also out of a link that the shell went through to get here
        beside = os.path.normpath(_working_directory() / beside)
    return Path(beside)


def _working_directory() -> Path:
    """The current directory by the name that the shell has for it, as in its prompt."""
    name, current = Path(os.environ.get("PWD", "")), Path.cwd()
    try:
        return name if name.is_absolute() and name.samefile(current) else current
    except (OSError, ValueError):
        return current


def _merge(base: dict[str, Any], changes: dict[str, Any], where: str, find: Find) -> dict[str, Any]:
    result = dict(base)
    for key, change in changes.items():
        old = base.get(key)
        if change is None:
            result.pop(key, None)
        elif key == "phases" and isinstance(old, list) and isinstance(change, dict):
            result[key] = change_phases(old, change, where, find)
        elif isinstance(old, dict) and isinstance(change, dict):
            result[key] = _merge(old, change, where, find)
        else:
            result[key] = change
    return result


def dump_yaml(values: dict[str, Any]) -> str:
    """YAML in the order of the keys, that `load_yaml` reads."""
    # through JSON: tuples become lists, which a safe loader reads
    content = json.loads(json.dumps(values))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def build(cls: type[T], values: Any, where: str) -> T:
    """Build the pydantic dataclass ``cls`` from a mapping, strictly.

    Raises:
        ConfigError: names ``where`` (a file, or a file and a phase), the wrong keys and their mends.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be a mapping of keys, not {value(values)}")
    if _count(values) > _MOST_VALUES:  # which pydantic would name one by one
        raise ConfigError(f"{where}: holds more than {_MOST_VALUES} values")
    try:
        built = pydantic.TypeAdapter(cls).validate_python(values)
    except pydantic.ValidationError as error:
        known = list(getattr(cls, "__dataclass_fields__", {}))
        faults = _of_one_kind(error.errors(), values)
        said = [_say(path, faults[path], where, known) for path in list(faults)[:_MOST_FAULTS]]
        if len(faults) > _MOST_FAULTS:
            said.append(f"and {len(faults) - _MOST_FAULTS} more")
        raise ConfigError("; ".join(said)) from None
    for path in _counted_as_numbers(values, built):
        raise ConfigError(f"{where}: {_key(path)}: must be a number, not true or false")
    return built


def _counted_as_numbers(given: Any, built: Any) -> Iterator[_Path]:
    """Where a boolean, which is an int to Python, was taken for a number."""
    if isinstance(given, bool):
        if isinstance(built, int | float) and not isinstance(built, bool):
            yield ()
    elif isinstance(given, dict):
        for key, item in given.items():
            own = built.get(key) if isinstance(built, dict) else getattr(built, str(key), None)
            yield from ((key, *path) for path in _counted_as_numbers(item, own))
    elif isinstance(given, list) and isinstance(built, list | tuple):
        for number, (item, own) in enumerate(zip(given, built, strict=False)):
            yield from ((number, *path) for path in _counted_as_numbers(item, own))


def _count(content: Any) -> int:
    if isinstance(content, dict):
        content = content.values()
    elif not isinstance(content, (list, tuple)):
        return 1
    return 1 + sum(map(_count, content))


def _path(fault: Any, values: Any) -> _Path:
    """Where a fault is; the names that pydantic gives the kinds of a union are no keys of the file."""
    path = []
    for part in fault["loc"]:
        inside = isinstance(values, dict) and part in values
        if inside or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
            path.append(part)
    return (*path, fault["loc"][-1]) if fault["type"].startswith("missing") else tuple(path)


def _of_one_kind(faults: Sequence[Any], values: Any) -> dict[_Path, Any]:
    """Of a value that may be of several kinds, what is wrong with the one that it is of."""
    found: dict[_Path, Any] = {}
    for fault in faults:
        found.setdefault(_path(fault, values), fault)
    deeper = {path[:1] for path in found if len(path) > 1}
    return {
        path: fault
        for path, fault in found.items()
        if path not in deeper or not fault["type"].endswith("_type")
    }


def _key(path: _Path) -> str:
    return plain(".".join(map(str, path)), 100)


def _say(path: _Path, error: Any, where: str, known: list[str]) -> str:
    key = _key(path)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        candidates = known if len(path) == 1 else []
        return f"{where}: {did_you_mean(str(path[-1]), candidates, key)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: the key `{key}` is missing"
    message = plain(error["msg"].removeprefix("Value error, "), 300)
    shown = "" if error["type"] == "value_error" else f" (got {value(error['input'])})"
    return f"{where}: {key + ': ' if key else ''}{message}{shown}"
