"""Stage 12 of part.sh: a model trained by a recipe leaves it as one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.pack.conftest import WEIGHTS, decode, save_base_models
from tests.train.tiny import ADAPTER, make_data, model_config, stage

pytestmark = pytest.mark.recipe
TEMPLATE = Path(__file__).parents[2] / "egs2/TEMPLATE/part"
DATA = """#!/usr/bin/env bash
mkdir -p data && cp -r ../prepared/* data
"""


def part_sh(recipe: Path, *options: str, fails: bool = False) -> str:
    own = ["--ngpu", "0", "--nj", "1", "--inference_nj", "1", "--valid_set", "valid"]
    own += ["--model_config", "conf/model.yaml", "--part_config", "conf/part"]
    own += ["--inference_args", "--max_new_tokens 8", "--audio_format", "copy"]
    clean = {k: v for k, v in os.environ.items() if k != "HF_TOKEN"}
    done = subprocess.run(
        ["./part.sh", *own, "--python", sys.executable, *options],
        cwd=recipe,
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **clean,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_TOKEN_PATH": str(recipe / "no token"),
        },
    )
    output = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, output
    return output


def make_recipe(recipe: Path) -> Path:
    (recipe / "local").mkdir(parents=True)
    for name in ("part.sh", "path.sh", "cmd.sh", "utils"):
        (recipe / name).symlink_to(TEMPLATE / name)
    (recipe / "local/data.sh").write_text(DATA)
    (recipe / "local/data.sh").chmod(0o755)
    (recipe / "conf/part").mkdir(parents=True)
    model = model_config(recipe / "conf")
    save_base_models(recipe / "conf")
    model["encoder_conf"] = {"name": "conf/encoder"}
    model["llm_conf"] = {"name": "conf/llm", "dtype": "float32"}
    model["prompts"] = "conf/prompts.yaml"
    (recipe / "conf/model.yaml").write_text(yaml.safe_dump(model))
    content = stage([{**ADAPTER, "steps": 2}], keep_nbest_models=1, num_iters_per_epoch=2)
    (recipe / "conf/part/stage1.yaml").write_text(yaml.safe_dump(content))
    for seed, name in enumerate(("train", "valid", "test")):
        make_data(recipe.parent / "prepared" / name, 2, seed=seed)
    return recipe


def test_a_recipe_packs_what_it_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(tmp_path / "my recipe")
    output = part_sh(recipe)
    assert "Skip packing (stage 12" in output  # as in ESPnet's recipes

    output = part_sh(recipe, "--skip_packing", "false", fails=True)
    assert "conf/encoder is a directory of this machine" in output
    assert "stage 12 (packing) failed" in output
    archive = recipe / "exp/part" / f"part_{WEIGHTS.removesuffix('.safetensors')}.zip"
    assert not archive.exists()

    options = ["--skip_packing", "false", "--with_base_models", "true", "--hf_repo", "me/model"]
    options += ["--pack_args", "--license apache-2.0 --title 'My model'"]
    output = part_sh(recipe, *options)
    assert "not uploaded to me/model: there is no token" in output
    assert f"packed: {archive.relative_to(recipe)}" in output
    assert "Stage 12: packing: already done" in part_sh(recipe, *options)
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        assert {"RESULTS.md", "figures/bleu.png", "base_models/llm/config.json"} <= set(names)
        card = file.read("README.md").decode()
        assert "# My model" in card and "license: apache-2.0" in card
        assert "## Results\n\n### test\n" in card
        for name in names:
            assert str(tmp_path).encode() not in file.read(name), name

    from espnet_part.decode.speech2text import Speech2Text

    expected = decode(Speech2Text.from_pretrained(recipe / "exp/part"))
    monkeypatch.setenv("ESPNET_PART_CACHE", str(tmp_path / "cache"))
    moved = Path(shutil.move(archive, tmp_path / "model.zip"))
    shutil.rmtree(recipe)
    monkeypatch.chdir(tmp_path)
    assert decode(Speech2Text.from_pretrained(moved)) == expected
