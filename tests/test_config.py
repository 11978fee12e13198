"""Configuration: safe, strict, with inheritance; errors name file, key and mend."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

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


@dataclass
class Kinds:
    limit: float | dict[str, float]
    sizes: list[int] = dataclasses.field(default_factory=list)
    inner: Conf | None = None
    names: list[str] | dict[str, float] = dataclasses.field(default_factory=list)
    is_on: bool = False


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"limit": "x"}, "limit: .*valid number.*'x'"),
        ({"limit": {"de": "x"}}, r"limit\.de: .*valid number.*'x'"),
        ({"limit": 1, "names": 3}, "names: .*valid list.*3"),
        ({"limit": 1, "names": {"a": []}}, r"names\.a: .*valid number"),
        ({"limit": 1, "inner": {"rate": []}}, r"inner\.rate: .*valid number"),
        ({"limit": 1, "inner": {}}, r"the key `inner\.rate` is missing"),
    ],
)
def test_what_may_be_of_two_kinds_has_one_complaint(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^f\.yaml: {said}") as error:
        build(Kinds, values, "f.yaml")
    assert ";" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"limit": True}, "limit"),
        ({"limit": {"de": False}}, "limit.de"),
        ({"limit": 1, "sizes": [1, True]}, "sizes.1"),
        ({"limit": 1, "inner": {"rate": 1, "size": True}}, "inner.size"),
        ({"limit": 1, "names": {"a": True}}, "names.a"),
    ],
)
def test_a_boolean_is_no_number(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"f.yaml: {re.escape(key)}: must be a number, not true"):
        build(Kinds, values, "f.yaml")
    assert build(Kinds, {"limit": 1, "is_on": True}, "f.yaml").is_on


def test_a_base_lies_beside_the_link_that_the_shell_went_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cd conf/no_lora` goes through a link; `..` is the recipe's conf, as in the shell."""
    shared, recipe = tmp_path / "shared", tmp_path / "recipe"
    for directory, steps in ((shared / "part", 9), (recipe / "part", 1)):
        directory.mkdir(parents=True)
        (directory / "stage1.yaml").write_text(f"steps: {steps}\n")
    (shared / "no_lora").mkdir()
    (shared / "no_lora/stage1.yaml").write_text("base: ../part/stage1.yaml\n")
    (recipe / "no_lora").symlink_to(shared / "no_lora")
    monkeypatch.chdir(recipe / "no_lora")
    for pwd, steps in ((recipe / "no_lora", 1), (shared / "no_lora", 9), (recipe, 9), ("", 9)):
        monkeypatch.setenv("PWD", str(pwd))  # the last two are not where we are
        assert load_yaml("stage1.yaml") == {"steps": steps}
    monkeypatch.setenv("PWD", str(recipe / "no_lora"))
    assert load_yaml("../no_lora/stage1.yaml") == {"steps": 9}  # the system goes up from `shared`
