"""Configuration: YAML with inheritance, and strict typed dataclasses."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from espnet_part.display import plain, value
from espnet_part.errors import ConfigError
from espnet_part.parsing import read_yaml

__all__ = ["ConfigError", "build", "dump_yaml", "load_yaml", "merge"]

T = TypeVar("T")
_MOST_FAULTS = 5
_MOST_VALUES = 10_000


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Load a YAML mapping; with ``base: other.yaml`` it is laid over that file's mapping.

    ``base`` is relative to the file that names it. Mappings are merged key by key, a null deletes
    a key, everything else replaces. ``phases`` given as a mapping {phase name: changes} changes the
    base's phases by name, in the base's order; a new name is appended, null drops the phase.

    Raises:
        ConfigError: missing or unreadable file, no mapping, duplicate key, circular ``base``.
    """
    return _load(Path(path), ())


def _load(path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in parents:
        raise ConfigError(f"{path}: `base` goes round in a circle")
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
    return merge(_load(path.parent / base, (*parents, path.resolve())), content, str(path))


def merge(base: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """Lay ``changes`` over ``base`` (see `load_yaml`); neither is modified.

    Raises:
        ConfigError: ``phases`` are no list of named phases, or a change names none of them.
    """
    result = dict(base)
    for key, change in changes.items():
        old = base.get(key)
        if change is None:
            result.pop(key, None)
        elif key == "phases" and isinstance(old, list) and isinstance(change, dict):
            result[key] = _merge_phases(old, change, where)
        elif isinstance(old, dict) and isinstance(change, dict):
            result[key] = merge(old, change, where)
        else:
            result[key] = change
    return result


def _merge_phases(base: list[Any], changes: dict[str, Any], where: str) -> list[Any]:
    phases: dict[str, dict[str, Any]] = {}
    for number, phase in enumerate(base, 1):
        name = phase.get("name") if isinstance(phase, dict) else None
        if not isinstance(name, str):
            raise ConfigError(f"{where}: phases: phase {number} of its `base` has no name")
        phases[name] = phase
    for name, change in changes.items():
        if change is None:
            if phases.pop(name, None) is None:
                raise ConfigError(f"{where}: phases: {did_you_mean(name, phases)}")
        elif not isinstance(change, dict):
            raise ConfigError(
                f"{where}: phases: {plain(name, 60)}: must be a mapping of keys, not {value(change)}"
            )
        elif name in phases:
            # a phase's task mixture and trainable set are replaced as a whole, not key by key
            phases[name] = {**phases[name], **change}
        else:
            phases[name] = {"name": name, **change}
    return list(phases.values())


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
        return pydantic.TypeAdapter(cls).validate_python(values)
    except pydantic.ValidationError as error:
        known = list(getattr(cls, "__dataclass_fields__", {}))
        faults = error.errors()
        said = [_say(fault, where, known) for fault in faults[:_MOST_FAULTS]]
        if len(faults) > _MOST_FAULTS:
            said.append(f"and {len(faults) - _MOST_FAULTS} more")
        raise ConfigError("; ".join(said)) from None


def _count(content: Any) -> int:
    if isinstance(content, dict):
        content = content.values()
    elif not isinstance(content, (list, tuple)):
        return 1
    return 1 + sum(map(_count, content))


def _say(error: Any, where: str, known: list[str]) -> str:
    key = plain(".".join(str(part) for part in error["loc"]), 100)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        candidates = known if len(error["loc"]) == 1 else []
        return f"{where}: {did_you_mean(str(error['loc'][-1]), candidates, key)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: the key `{key}` is missing"
    message = plain(error["msg"].removeprefix("Value error, "), 300)
    shown = "" if error["type"] == "value_error" else f" (got {value(error['input'])})"
    return f"{where}: {key + ': ' if key else ''}{message}{shown}"


def did_you_mean(wrong: str, known: Any, key: str | None = None) -> str:
    """Say that ``wrong`` is unknown, and the nearest of ``known`` or all of them."""
    # what is so much longer than any name is none of them, and comparing would take seconds
    close = difflib.get_close_matches(wrong[:200], [str(k) for k in known], n=1)
    mend = f"; did you mean `{close[0]}`?" if close else ""
    if not close and known:
        mend = f"; known: {', '.join(str(k) for k in known)}"
    return f"unknown key `{plain(key or wrong, 100)}`{mend}"
