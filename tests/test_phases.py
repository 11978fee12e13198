"""espnet_part/phases.py: a system in a few words about another, through links as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_part import config
from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError

PART = [
    {"name": "a", "train": ["adapter"], "lr": {"adapter": 1.0}, "tasks": {"asr": 1}, "steps": 10},
    {
        "name": "b",
        "train": ["adapter", "encoder.layers[-2:]", "llm.lora"],
        "lr": {"adapter": 0.5, "encoder": 0.2, "llm": 0.1},
        "tasks": {"asr": 1, "s2tt": 3},
        "language_temperature": 2.0,
        "steps": 30,
    },
]


def changed(directory: Path, changes: Any) -> list[dict[str, Any]]:
    (directory / "part.yaml").write_text(yaml.safe_dump({"phases": PART}))
    content = {"base": "part.yaml", "phases": changes}
    (directory / "other.yaml").write_text(yaml.safe_dump(content))
    return list(load_yaml(directory / "other.yaml")["phases"])


def test_words_take_values_from_other_phases(tmp_path: Path) -> None:
    words = {"steps_of": ["part.yaml"], "mixture_of": "part.yaml", "lr_of": "part.yaml"}
    (phase,) = changed(tmp_path, {"b": words, "*": None})
    assert phase == {
        **PART[1],
        "steps": 40,
        "tasks": {"asr": 0.4375, "s2tt": 0.5625},
        "language_temperature": 2.0,
        "lr": {"adapter": 1.0, "encoder": 0.2, "llm": 0.1},
    }


def test_one_phase_can_be_named(tmp_path: Path) -> None:
    first, _ = changed(tmp_path, {"a": {"mixture_of": "part.yaml:b", "steps_of": "part.yaml:b"}})
    mixture = {"tasks": PART[1]["tasks"], "language_temperature": 2.0}
    assert first == {**PART[0], **mixture, "steps": 30}


def test_a_group_can_be_left_out_of_every_phase(tmp_path: Path) -> None:
    first, second = changed(tmp_path, {"*": {"without": ["llm", "encoder"]}})
    assert first == PART[0]
    assert second == {**PART[1], "train": ["adapter"], "lr": {"adapter": 0.5}}


def test_own_values_stand_beside_the_words(tmp_path: Path) -> None:
    first, second = changed(tmp_path, {"a": {"steps": 1}, "*": {"steps_of": "part.yaml"}})
    assert (first["steps"], second["steps"]) == (1, 40)


def test_a_linked_directory_takes_the_files_beside_the_link(tmp_path: Path) -> None:
    shared, recipe = tmp_path / "shared", tmp_path / "recipe"
    for directory, steps in ((shared, 5), (recipe, 7)):
        (directory / "part").mkdir(parents=True)
        content = {"phases": [{"name": "p", "steps": steps}]}
        (directory / "part/stage1.yaml").write_text(yaml.safe_dump(content))
    (shared / "system").mkdir()
    (shared / "system/stage1.yaml").write_text("base: ../part/stage1.yaml\n")
    (recipe / "system").symlink_to(shared / "system")
    assert load_yaml(shared / "system/stage1.yaml")["phases"][0]["steps"] == 5
    assert load_yaml(recipe / "system/stage1.yaml")["phases"][0]["steps"] == 7


def test_a_mixture_comes_with_its_limits(tmp_path: Path) -> None:
    limits = {"max_epochs": {"de": 4}, "min_share": 0.01}
    source = tmp_path / "source.yaml"
    source.write_text(yaml.safe_dump({"phases": [{**PART[0], **limits}]}))
    words = {"mixture_of": "source.yaml"}
    first, second = changed(tmp_path, {"a": words, "b": {**words, "max_epochs": 9}})
    assert first == {**PART[0], **limits}
    assert (second["max_epochs"], second["min_share"]) == (9, 0.01)
    assert "max_epochs" not in changed(tmp_path, {"b": {"mixture_of": "part.yaml:a"}})[1]


def test_a_null_takes_a_key_away(tmp_path: Path) -> None:
    words = {"mixture_of": "part.yaml:b", "language_temperature": None}
    first, second = changed(tmp_path, {"a": {**words, "steps": None, "epochs": 2}, "b": {}})
    assert "language_temperature" not in first and "steps" not in first
    assert second == PART[1]


def test_a_null_of_the_source_takes_nothing_away(tmp_path: Path) -> None:
    limits = {"max_epochs": None, "min_share": None, "language_temperature": None}
    phases = [{**PART[0], **limits}, {**PART[1], "max_epochs": 4}]
    (tmp_path / "source.yaml").write_text(yaml.safe_dump({"phases": phases}))
    first, _ = changed(tmp_path, {"a": {"mixture_of": "source.yaml"}})
    assert (first["max_epochs"], first["language_temperature"]) == (4, 2.0)
    assert "min_share" not in first
    (tmp_path / "source.yaml").write_text(yaml.safe_dump({"phases": [{**PART[0], "tasks": None}]}))
    with pytest.raises(ConfigError, match="the phase a, which it takes from, has no `tasks`"):
        changed(tmp_path, {"a": {"mixture_of": "source.yaml"}})


def test_a_mixture_comes_with_its_temperature(tmp_path: Path) -> None:
    _, second = changed(tmp_path, {"b": {"mixture_of": "part.yaml:a"}})
    assert second["tasks"] == PART[0]["tasks"]
    assert "language_temperature" not in second


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tasks": {"asr": 0}}, "tasks: weights must be above 0"),
        ({"tasks": {"asr": float("nan")}}, "tasks: weights must be above 0"),
        ({"tasks": ["asr"]}, "tasks: must map names to numbers"),
        ({"tasks": {"asr": True}}, "tasks: must map names to numbers"),
        ({"steps": 0}, "has no number of `steps`"),
        ({"steps": True}, "has no number of `steps`"),
    ],
)
def test_a_mean_of_what_has_none_is_refused(tmp_path: Path, wrong: Any, said: str) -> None:
    source = tmp_path / "source.yaml"
    source.write_text(yaml.safe_dump({"phases": [{**PART[0], **wrong}, PART[1]]}))
    with pytest.raises(ConfigError, match=said):
        changed(tmp_path, {"a": {"mixture_of": "source.yaml"}})


def test_a_file_that_many_phases_name_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that name each other many times over would take for ever."""
    read: list[Path] = []
    reader = config.read_yaml

    def noted(path: Path) -> Any:
        read.append(path)
        return reader(path)

    monkeypatch.setattr(config, "read_yaml", noted)
    for n in range(9):
        names = [f"{n + 1}.yaml"] * 9 if n < 8 else ["part.yaml"]
        content = {"base": "part.yaml", "phases": {"a": {"steps_of": names}}}
        (tmp_path / f"{n}.yaml").write_text(yaml.safe_dump(content))
    changed(tmp_path, {"a": {"steps_of": "0.yaml"}})
    assert len(read) == len(set(read)) == 11


def test_a_chain_of_files_has_an_end(tmp_path: Path) -> None:
    for n in range(1200):
        (tmp_path / f"{n}.yaml").write_text(f"base: {n + 1}.yaml\n")
    with pytest.raises(ConfigError, match=r"20\.yaml|21\.yaml"):
        load_yaml(tmp_path / "0.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"a": {"steps_of": 3}}, "steps_of: must name stage files, not 3"),
        ({"a": {"steps_of": "none.yaml"}}, r"none\.yaml: no such file"),
        ({"a": {"steps_of": "part.yaml:c"}}, "unknown key `c`"),
        ({"a": {"steps_of": []}}, "steps_of: must name at least one stage file"),
        ({"a": {"mixture_of": []}}, "mixture_of: must name at least one stage file"),
        ({"a": {"without": "llm"}}, "without: must be a list of groups"),
        ({"a": {"without": ["llm"]}}, "a: without: unknown key `llm`; known: adapter"),
        ({"*": {"without": ["lm"]}}, "without: unknown key `lm`; did you mean `llm`"),
        ({"a": {"mixture_of": "other.yaml"}}, "circle"),
        ({"c": None}, "unknown key `c`"),
        ({"a": 1}, "must be a mapping of keys, not 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        changed(tmp_path, changes)
