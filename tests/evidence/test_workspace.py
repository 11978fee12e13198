"""A corpus' directory: links, thinned training sets, stages taken over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from espnet_part.config import load_yaml
from espnet_part.errors import DataError
from espnet_part.evidence.plan import Run, load_plan
from espnet_part.evidence.workspace import Workspace, thin_out
from espnet_part.kaldi import read_table, write_table
from espnet_part.recipe.markers import Marker

MINI = Path(__file__).parents[2] / "egs2/mini_multilingual/part"


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    plan = load_plan(MINI / "conf/evidence.yaml")
    return Workspace(tmp_path / "evidence/three", MINI, plan, "three")


def write_set(directory: Path, per_direction: int = 40) -> Path:
    directory.mkdir()
    rows = {}
    for n in range(per_direction):
        for source, target, task in (
            ("de", "de", "asr"),
            ("de", "en", "s2tt"),
            ("en", "de", "s2tt"),
            ("en", "de", "t2tt"),
        ):
            rows[f"{source}{n}-{task}-{target}"] = (task, source, target)
    for column, name in enumerate(("utt2task", "utt2lang", "utt2tgt")):
        write_table(directory / name, ((utt, row[column]) for utt, row in rows.items()))
    write_table(directory / "text", ((utt, "words") for utt in rows))
    write_table(
        directory / "wav.scp", ((u, f"{u}.wav") for u, row in rows.items() if row[0] != "t2tt")
    )
    (directory / "text_normalizer").write_text("none\n")
    (directory / "dropped.tsv").write_text("")
    return directory


def test_a_smaller_share_lies_inside_a_larger_one(tmp_path: Path) -> None:
    whole = write_set(tmp_path / "train")
    kept = {}
    for share in (0.1, 0.3):
        thin_out(whole, tmp_path / f"part{share}", share)
        kept[share] = read_table(tmp_path / f"part{share}/utt2task")
    assert kept[0.1].keys() < kept[0.3].keys() < read_table(whole / "utt2task").keys()
    for share, number in ((0.1, 4), (0.3, 12)):
        tasks = list(kept[share].values())
        assert (tasks.count("asr"), tasks.count("t2tt"), tasks.count("s2tt")) == (
            40,
            40,
            2 * number,
        )
        directory = tmp_path / f"part{share}"
        assert read_table(directory / "text").keys() == kept[share].keys()
        heard = {utt for utt, task in kept[share].items() if task != "t2tt"}
        assert read_table(directory / "wav.scp").keys() == heard
        languages = read_table(directory / "utt2lang")
        chosen = [languages[utt] for utt, task in kept[share].items() if task == "s2tt"]
        assert chosen.count("de") == chosen.count("en") == number
        assert (directory / "text_normalizer").read_text() == "none\n"


def test_no_translations_cannot_be_thinned_out(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    for name, value in (("utt2task", "asr"), ("utt2lang", "de"), ("utt2tgt", "de")):
        write_table(directory / name, [("a", value)])
    with pytest.raises(DataError, match="no speech translations"):
        thin_out(directory, tmp_path / "part", 0.5)


def test_links_lead_to_the_recipe_and_its_own_stay_out(space: Workspace) -> None:
    space.link()
    space.link()  # again
    for name in (
        "part.sh",
        "path.sh",
        "local",
        "utils",
        "conf/model.yaml",
        "conf/base_models.yaml",
    ):
        assert (space.root / name).resolve() == (MINI / name).resolve()
    assert not (space.root / "exp").exists() and not (space.root / "data").exists()
    assert not (space.root / "conf/training.yaml").is_symlink()  # its base is named from the recipe
    assert "base" not in (space.root / "conf/training.yaml").read_text().split(":")[0]


def test_links_follow_the_recipe(tmp_path: Path, space: Workspace) -> None:
    recipe = tmp_path / "recipe"
    (recipe / "conf").mkdir(parents=True)
    for name in ("part.sh", "cmd.sh", "conf/a.yaml", "conf/b.yaml"):
        (recipe / name).write_text("")
    space = replace(space, recipe=recipe)
    file, made = recipe / "conf/b.yaml", space.root / "conf/b.yaml"
    for content, is_link in (("x: 1", True), ("base: a.yaml\nx: 2", False), ("x: 3", True)):
        file.write_text(content + "\n")
        space.link()
        assert made.is_symlink() == is_link and load_yaml(made)["x"] == int(content[-1])
    file.write_text("base: a.yaml\n")
    space.link()
    assert load_yaml(recipe / "conf/b.yaml") is not None and file.read_text() == "base: a.yaml\n"
    (space.root / "conf/runs").mkdir()
    for name in ("cmd.sh", "conf/a.yaml", "conf/b.yaml"):
        (recipe / name).unlink()
    space.link()
    assert sorted(path.name for path in space.root.rglob("*")) == ["conf", "part.sh", "runs"]


def test_a_thinned_set_has_known_tables_and_is_made_once(space: Workspace) -> None:
    raw, setting = space.root / "dump/raw", replace(space.plan.setting, s2tt=0.5)
    raw.mkdir(parents=True)
    whole = write_set(raw / "train")
    ids = " ".join(read_table(whole / "utt2task"))
    (whole / "spk2utt").write_text(f"speaker {ids}\n")
    (whole / "src_text").write_text("de1-s2tt-en words\n")
    done = Marker(space.root / "dump/.done/stage3_train")
    done.finish("key", "data")
    part = raw / space.train_set(setting)
    space.thin_out(setting)
    assert (part / "src_text").exists() and not (part / "spk2utt").exists()
    before = part.stat().st_ino
    space.thin_out(setting)  # another run that trains on it
    assert part.stat().st_ino == before
    (whole / "src_text").unlink()
    done.finish("key", "other data")
    space.thin_out(setting)
    assert not (part / "src_text").exists()
    assert [path.name for path in raw.iterdir() if path.name.startswith(".")] == []


def test_a_stage_is_taken_over_with_its_marker(space: Workspace) -> None:
    one = Run("part", space.plan.setting, 1.0, 0)
    two = Run("two_stage", space.plan.setting, 1.0, 0)
    stage = space.stage(one, 1)
    (stage / "checkpoints").mkdir(parents=True)
    (stage / "valid.acc.ave_1best.safetensors").write_text("weights")
    (stage / "valid.acc.ave.safetensors").symlink_to("valid.acc.ave_1best.safetensors")
    space.marker(one, 1).finish("key", "product")
    space.stage(two, 1).mkdir(parents=True)  # an interrupted training
    assert space.has_ended(one, 1) and not space.has_ended(two, 1)
    space.adopt(two, 1, one)
    assert space.has_ended(two, 1)
    assert (space.stage(two, 1) / "valid.acc.ave.safetensors").read_text() == "weights"
    assert not (space.stage(two, 1) / "checkpoints").exists()
    assert space.marker(two, 1).read() == space.marker(one, 1).read()
