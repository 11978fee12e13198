"""Options of the recipe scripts that are refused before anything is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from espnet_part.errors import ConfigError
from espnet_part.recipe.options import RecipeOptions


class Options(RecipeOptions):
    last_stage = 12


def make_options(**given: Any) -> Options:
    kinds = get_type_hints(RecipeOptions)
    values: dict[str, Any] = {
        field.name: 1 if kinds[field.name] is int else "true"
        for field in dataclasses.fields(RecipeOptions)
    }
    paths = {"dumpdir": Path("dump"), "expdir": Path("exp"), "master_port": ""}
    return Options(**(values | paths | {"stage": None, "stop_stage": 12} | given))


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_link_to_another_disk_is_followed(recipe: Path) -> None:
    make_options().check()
    (recipe / "big disk").mkdir()
    (recipe / "exp").symlink_to("big disk")
    make_options(dumpdir=Path("exp/deep/dump")).check()


@pytest.mark.parametrize(
    ("link", "options", "message"),
    [
        ("exp", {}, "--expdir exp: the link exp leads to gone, which is missing"),
        ("data", {}, "data: the link data leads to gone, which is missing"),
        (
            "far",
            {"dumpdir": Path("far/dump")},
            "--dumpdir far/dump: the link far leads to gone, which is missing",
        ),
    ],
)
def test_a_link_whose_disk_is_away_is_named(
    recipe: Path, link: str, options: dict[str, Any], message: str
) -> None:
    (recipe / link).symlink_to("gone")
    with pytest.raises(ConfigError) as caught:
        make_options(**options).check()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["exp", "exp/part/deep"])
def test_a_file_is_no_directory(recipe: Path, name: str) -> None:
    (recipe / "exp").write_text("")
    with pytest.raises(ConfigError) as caught:
        make_options(expdir=Path(name)).check()
    assert str(caught.value) == f"--expdir {name}: exp is not a directory"
