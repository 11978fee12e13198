"""espnet_part/parsing.py: any bytes give plain values or one line that names the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.errors import ConfigError
from espnet_part.parsing import parse_json, parse_yaml, read_json, read_yaml

# PyYAML's emitter takes Unicode's own line breaks for those of the file, and loses some of them.
TEXTS = st.text(st.characters(exclude_characters="\x85\u2028\u2029", exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_what_was_written_is_read(content: Any) -> None:
    assert parse_yaml(yaml.safe_dump(content, allow_unicode=True), "f") == content
    assert parse_json(json.dumps(content), "f") == content


@given(st.text())
def test_any_text_gives_values_or_one_line(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text, "f.yaml")
        except ConfigError as error:
            assert str(error).startswith("f.yaml: ")
            assert str(error).isprintable()


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k0: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 10)}], k{b}: 1}}\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "aliases stand for more than"),
        (MERGES, "aliases stand for more than"),
        ("a: &a [*a]", "inside what it names"),
        ("a: " + nested(3000), "maximum nesting depth|more than 100 deep"),
        ("a: " + "9" * 5000, "a whole number of 5000 characters"),
        ("a: [" + "1," * 300_000 + "]", "more than 100000 values"),
        ("1: a", "the key 1 is no string"),
        ("no: 0.5", "the key no is no string; write it in quotes"),
        ("null: a", "is no string"),
        ("[a, b]: c", "is no string"),
        ("a: !!binary aGk=", "tag"),
        ("a: !!timestamp 2024-01-01", "tag"),
        ("a: !!set {b, c}", "tag"),
        ("a: !!python/object/apply:os.system [true]", "tag"),
        ("a: b: c", "not valid YAML"),
        ("\x00", "not valid YAML"),
    ],
)
def test_yaml_that_configuration_does_not_need(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_yaml(text, "f.yaml")
    assert len(str(caught.value)) < 500


def test_a_date_is_the_string_that_was_written() -> None:
    assert parse_yaml("release: 2024-01-31\nat: 2001-12-14t21:59:43.10-05:00", "f") == {
        "release": "2024-01-31",
        "at": "2001-12-14t21:59:43.10-05:00",
    }


def test_anchors_and_merges_of_ordinary_size_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", "f") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (nested(2000), "more than 100 deep"),
        ('{"a":' * 2000, "more than 100 deep"),
        ('{"a": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
        ('{"a": 1', "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_json_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_json(text, "f.json")


def test_brackets_in_strings_are_not_depth() -> None:
    text = json.dumps({"a": "[" * 5000 + '"\\"' * 50})
    assert parse_json(text, "f")["a"].startswith("[[")


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_files_that_are_none(tmp_path: Path, read: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    latin = tmp_path / "latin"
    latin.write_bytes("für".encode("latin-1"))
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 1 << 40)
    for path, said in (
        (pipe, "no regular file"),
        (tmp_path, "no regular file"),
        (latin, "is not UTF-8 \\(byte 1\\)"),
        (large, "more than the"),
        (tmp_path / "none", "no such file"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_bombs_take_little_memory() -> None:
    code = """
import sys
from pathlib import Path
from espnet_part.parsing import ConfigError, parse_yaml

for text in sys.stdin.read().split("====="):
    try:
        parse_yaml(text, "f")
    except ConfigError:
        continue
    sys.exit(3)
# not getrusage, which counts what the parent had
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    bombs = [LAUGHS, MERGES, "a: [" + "1," * 3_000_000 + "]", nested(100_000)]
    done = subprocess.run(
        [sys.executable, "-c", code], input="=====".join(bombs), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200_000  # kB
