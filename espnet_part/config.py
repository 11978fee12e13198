"""Reading configuration: safe YAML with inheritance, and strict typed dataclasses."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from espnet_part.errors import ConfigError

__all__ = ["ConfigError", "build", "load_yaml", "merge"]

T = TypeVar("T")


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, which plain YAML would lose silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


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
    try:
        # PyYAML's C reader knows no duplicate-key hook; these files are short.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, not a {type(content).__name__}")
    base = content.pop("base", None)
    if base is None:
        return content
    return merge(_load(path.parent / base, (*parents, path.resolve())), content, str(path))


def merge(base: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """Lay ``changes`` over ``base`` (see `load_yaml`); neither is modified."""
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
    phases = {phase["name"]: phase for phase in base}
    for name, change in changes.items():
        if change is None:
            if phases.pop(name, None) is None:
                raise ConfigError(f"{where}: phases: {did_you_mean(name, phases)}")
        elif name in phases:
            # a phase's task mixture and trainable set are replaced as a whole, not key by key
            phases[name] = {**phases[name], **change}
        else:
            phases[name] = {"name": name, **change}
    return list(phases.values())


def build(cls: type[T], values: Any, where: str) -> T:
    """Build the pydantic dataclass ``cls`` from a mapping, strictly.

    Raises:
        ConfigError: names ``where`` (a file, or a file and a phase), every wrong key and its mend.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be a mapping of keys, not {values!r}")
    try:
        return pydantic.TypeAdapter(cls).validate_python(values)
    except pydantic.ValidationError as error:
        known = list(getattr(cls, "__dataclass_fields__", {}))
        raise ConfigError("; ".join(_say(e, where, known) for e in error.errors())) from None


def _say(error: Any, where: str, known: list[str]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        candidates = known if len(error["loc"]) == 1 else []
        return f"{where}: {did_you_mean(str(error['loc'][-1]), candidates, key)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: the key `{key}` is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if error["type"] == "value_error" else f" (got {error['input']!r})"
    return f"{where}: {key + ': ' if key else ''}{message}{shown}"


def did_you_mean(wrong: str, known: Any, key: str | None = None) -> str:
    """Say that ``wrong`` is unknown, and the nearest of ``known`` or all of them."""
    close = difflib.get_close_matches(wrong, [str(k) for k in known], n=1)
    mend = f"; did you mean `{close[0]}`?" if close else ""
    if not close and known:
        mend = f"; known: {', '.join(str(k) for k in known)}"
    return f"unknown key `{key or wrong}`{mend}"
