"""YAML and JSON of any origin, read into plain values: strings, numbers, truth values, lists, mappings.

A file may hold anything: a bomb of aliases, a number of five thousand digits, lists two thousand deep, a
date where a string belongs. Whatever it is, the answer comes within about a second and little memory: the
values, or a `ConfigError` that names the file, the line and the mend.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from espnet_part.display import plain
from espnet_part.errors import ConfigError

#: Of a file. The longest honest ones are ESPnet's configurations with their lists of tokens.
LARGEST_BYTES = 8 << 20
#: Of YAML: scalars, lists and mappings, with each alias counted as often as it would be copied.
MOST_VALUES = 100_000
DEEPEST = 100
_LARGEST_NUMBER = 40
"""Digits of a whole number, and more than any setting has."""
_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file; None for an empty one.

    Raises:
        ConfigError: missing, unreadable, too large, no YAML, or with what configuration does not need
            (objects, dates, binary data, a key twice, keys that are no strings).
    """
    return parse_yaml(_read_text(path), str(path))


def read_json(path: str | Path, largest: int = LARGEST_BYTES) -> Any:
    """The content of a JSON file.

    Args:
        largest: bytes that the file may have.

    Raises:
        ConfigError: missing, unreadable, too large, or no JSON.
    """
    return parse_json(_read_text(path, largest), str(path))


def read_json_object(path: str | Path, largest: int = LARGEST_BYTES) -> dict[str, Any]:
    """The content of a JSON file that must hold an object (see `read_json`)."""
    content = read_json(path, largest)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be an object of keys, not {type(content).__name__}")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML (see `read_yaml`); ``where`` it stands is for messages."""
    try:
        _measure(text, where)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count_copies(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        said = plain(" ".join(str(error).replace('"<unicode string>", ', "").split()), 300)
        raise ConfigError(f"{where}: not valid YAML: {said}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML: {plain(error, 300)}") from None


def parse_json(text: str, where: str) -> Any:
    """Read JSON (see `read_json`); ``where`` it stands is for messages."""
    try:
        # the parser calls itself for each level, in C, where the stack has an end
        if _depth(text) > DEEPEST:
            raise ValueError(f"lists and objects are more than {DEEPEST} deep in one another")
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {plain(error, 300)}") from None


def _read_text(path: str | Path, largest: int = LARGEST_BYTES) -> str:
    try:
        # a pipe would be waited for, and a device read for ever
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            kind = (
                "a directory, no regular file"
                if stat.S_ISDIR(status.st_mode)
                else "no regular file"
            )
            raise ConfigError(f"{path}: {kind}")
        with Path(path).open("rb") as file:
            if status.st_size > largest:
                raise ConfigError(
                    f"{path}: has {status.st_size} bytes, more than the {largest} that are read here"
                )
            return file.read(largest + 1).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read: {said}") from None


def _depth(text: str) -> int:
    """How deep the lists and objects of a JSON text are in one another."""
    depth = deepest = 0
    for found in _MARKS.finditer(text):
        mark = found.group()
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _whole(digits: str) -> int:
    if len(digits) > _LARGEST_NUMBER:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values only: no dates, no tags of YAML beyond those of JSON, every key a string, and once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = getattr(key_node, "value", None)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STRING:
                shown = plain(key, 40) if isinstance(key, str) else "a list or a mapping"
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {shown} is no string; write it in quotes if it is meant as one",
                    key_node.start_mark,
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {plain(key, 40)!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """A whole number; Python refuses those of thousands of digits."""
        if len(node.value) > _LARGEST_NUMBER:
            raise yaml.constructor.ConstructorError(
                None, None, f"a whole number of {len(node.value)} characters", node.start_mark
            )
        return super().construct_yaml_int(node)

    def refuse(self, node: yaml.Node) -> None:
        """An object, a date by tag, binary data, a set …"""
        raise yaml.constructor.ConstructorError(
            None, None, f"the tag {plain(node.tag, 60)} is not read here", node.start_mark
        )


_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
#: What looks like a date stays the string that it is.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in _Loader.yaml_constructors.items()
    if tag and tag.rpartition(":")[2] in ("null", "bool", "float", "str", "seq", "map")
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor(None, _Loader.refuse)


def _measure(text: str, where: str) -> None:
    """Refuse a text whose tree would be too large to build, before any of it is built."""
    values = depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.NodeEvent):
            values += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if values > MOST_VALUES:
            raise ConfigError(f"{where}: holds more than {MOST_VALUES} values")
        if depth > DEEPEST:
            raise ConfigError(
                f"{where}: {_line(event)}lists and mappings are more than {DEEPEST} deep in one "
                "another"
            )


def _line(found: yaml.Node | yaml.Event) -> str:
    return "" if found.start_mark is None else f"line {found.start_mark.line + 1}: "


def _count_copies(root: yaml.Node, where: str) -> None:
    """Refuse aliases that would make a small file large: each use of one counts as a copy."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_nodes:
            raise ConfigError(f"{where}: {_line(node)}an alias stands inside what it names")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            below = (
                (part for pair in node.value for part in pair)
                if isinstance(node, yaml.MappingNode)
                else iter(node.value)
            )
            sizes[id(node)] = 1 + sum(map(size, below))
            open_nodes.discard(id(node))
        return sizes[id(node)]

    if size(root) > MOST_VALUES:
        raise ConfigError(f"{where}: its aliases stand for more than {MOST_VALUES} values")
