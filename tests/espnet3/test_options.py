"""What a stage of ESPnet 3 is in the words of part.sh; ESPnet 3 need not be there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError
from espnet_part.espnet3.options import STAGES, part_words
from tests.recipes.tiny import copy_recipe, environment

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs3/mini_multilingual/part"
ROLES = ("training", "inference", "metrics", "publication")
TRAINING: dict[str, Any] = {
    "recipe_dir": ".",
    "exp_tag": "mine",
    "exp_dir": "./exp/mine",
    "num_device": 0,
    "num_nodes": 1,
    "seed": 3,
    "part": {"model_config": "conf/model.yaml"},
}


def options(stage: str, **configs: dict[str, Any]) -> dict[str, str]:
    words = part_words(stage, {"training": TRAINING, **configs})
    assert all(name.startswith("--") for name in words[::2])
    return dict(zip((name[2:] for name in words[::2]), words[1::2], strict=True))


def test_a_stage_is_a_range_of_part_sh() -> None:
    assert options("train") == {
        "model_config": "conf/model.yaml",
        "ngpu": "0",
        "num_nodes": "1",
        "seed": "3",
        "expdir": "exp",
        "part_tag": "mine",
        "skip_data_prep": "true",
        "stop_stage": "9",
    }
    last = [options(s).get("stop_stage") for s in STAGES if s != "upload_model"]
    assert last == ["3", "6", "9", "10", "11", None]


def test_values_are_written_as_part_sh_takes_them() -> None:
    part = {
        "gpu_inference": True,
        "test_sets": ["a", "b"],
        "inference_nj": 2,
        "decode_config": None,
    }
    found = options("infer", inference={"exp_tag": "mine", "exp_dir": "./exp/mine", "part": part})
    assert (found["gpu_inference"], found["test_sets"], found["inference_nj"]) == (
        "true",
        "a b",
        "2",
    )
    assert "decode_config" not in found


def test_an_experiment_lies_where_exp_dir_says_seen_from_the_recipe() -> None:
    elsewhere = {**TRAINING, "recipe_dir": "egs3/a/part", "exp_dir": "egs3/a/part/out/x"}
    found = options("train", training=elsewhere)
    assert (found["expdir"], found["part_tag"]) == ("out", "x")


def test_a_model_is_uploaded_by_upload_model_alone() -> None:
    publication = {"part": {"hf_repo": "me/model", "with_base_models": True}}
    assert "hf_repo" not in options("pack_model", publication=publication)
    assert options("upload_model", publication=publication)["hf_repo"] == "me/model"
    with pytest.raises(ConfigError, match="publication config: part: hf_repo is missing"):
        options("upload_model")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"trainer": {"max_epochs": 1}}, "training config: unknown key `trainer`"),
        ({"part": {"model_confg": "a"}}, "training config: part: .* did you mean `model_config`"),
        ({"part": {"ngpu": 1}}, "part: ngpu is ESPnet 3's num_device, beside `part`"),
        ({"part": {"stop_stage": 3}}, "part: unknown key `stop_stage`"),
        ({"part": {"nj": {"a": 1}}}, "part: nj: must be text, a number or a list, not dict"),
        ({"part": "conf/part"}, "training config: part: must be options of part.sh"),
        ({"num_device": None}, "training config: num_device: must be text, a number or a list"),
    ],
)
def test_a_key_that_is_not_read_is_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options("train", training={**TRAINING, **training})
    with pytest.raises(ConfigError, match="inference config: unknown key `seed`"):
        options("infer", inference={"seed": 1})


def test_the_embedded_recipe_has_the_settings_of_the_one_in_egs2(tmp_path: Path) -> None:
    recipe = copy_recipe(tmp_path, "mini_multilingual")
    for script, body in (("part.sh", 'printf "%s\\n" "$@"'), ("../../../tools/setup.sh", "exit 0")):
        path = recipe / script
        path.unlink()
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
    done = subprocess.run(
        [str(recipe / "run.sh"), "--stop_stage", "12"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    egs2 = {n[2:]: v.strip() for n, v in zip(words[::2], words[1::2], strict=True)}
    configs: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        packaged = load_yaml(ROOT / f"espnet_part/espnet3/conf/{role}.yaml")
        configs[role] = {**packaged, **load_yaml(RECIPE / f"conf/{role}.yaml")}
    configs["training"]["exp_dir"] = "./exp/part"  # which ESPnet 3 makes of exp_tag
    egs3 = options("pack_model", **configs)
    schedule = (Path(os.path.normpath(RECIPE / egs3.pop("part_config"))), egs2.pop("part_config"))
    assert schedule == (ROOT / "egs2/mini_multilingual/part/conf/part", "conf/part")
    for name in ("stop_stage", "skip_data_prep", "skip_train", "skip_eval", "skip_packing"):
        egs2.pop(name, None), egs3.pop(name, None)
    assert egs3 == {**egs2, "expdir": "exp", "num_nodes": "1"}
