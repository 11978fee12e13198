"""Configuration: safe, strict, with inheritance; errors name file, key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic.dataclasses import dataclass

from espnet_part.config import build, load_yaml
from espnet_part.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_laid_over_its_base(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "x: 1\nconf: {p: 1, q: 2}\nlist: [1, 2]\n")
    b = write(tmp_path / "b.yaml", "base: a.yaml\nconf: {q: 3, p: null}\nlist: [9]\n")
    assert load_yaml(b) == {"x": 1, "conf": {"q": 3}, "list": [9]}


def test_phases_are_changed_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "phases: [{name: p, steps: 1, tasks: {asr: 1}}, {name: q}]\n")
    b = write(
        tmp_path / "b.yaml",
        "base: a.yaml\nphases: {p: {tasks: {s2tt: 1}}, q: null, r: {steps: 3}}\n",
    )
    assert load_yaml(b)["phases"] == [
        {"name": "p", "steps": 1, "tasks": {"s2tt": 1}},
        {"name": "r", "steps": 3},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "must be a mapping"),
        ("a: [1\n", "not valid YAML"),
        ("a: 1\na: 2\n", "given twice"),
        ("base: missing.yaml\n", "missing.yaml: no such file"),
        ("base: bad.yaml\n", "circle"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_yaml(write(tmp_path / "bad.yaml", text))


@dataclass
class Conf:
    rate: float
    size: int = 3


def test_wrong_types_name_the_key_and_the_value() -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml: size: .*'many'"):
        build(Conf, {"rate": 1, "size": "many"}, "f.yaml")
    with pytest.raises(ConfigError, match=r"f\.yaml: the key `rate` is missing"):
        build(Conf, {}, "f.yaml")
