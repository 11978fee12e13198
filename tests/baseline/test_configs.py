"""The configurations of the stock models that come with the recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DIRECTORIES = [
    ROOT / "conf/baseline_espnet",
    ROOT / "egs2/mini_multilingual/part/conf/baseline_espnet",
]


def load(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict), path
    return content


@pytest.mark.parametrize("directory", DIRECTORIES, ids=["shared", "mini"])
def test_the_st_model_can_start_from_the_asr_model(directory: Path) -> None:
    asr, st = load(directory / "train_asr.yaml"), load(directory / "train_st.yaml")
    for key in ("frontend_conf", "encoder", "encoder_conf", "decoder", "decoder_conf"):
        assert asr[key] == st[key], key
    assert st["model_conf"]["asr_weight"] > 0  # the CTC branch that is taken over
    assert st["model_conf"]["mtlalpha"] > 0


@pytest.mark.parametrize("directory", DIRECTORIES, ids=["shared", "mini"])
def test_normalisation_is_left_to_the_script(directory: Path) -> None:
    """With it in the file, the statistics that it needs could not be collected."""
    for task in ("asr", "st"):
        assert "normalize" not in load(directory / f"train_{task}.yaml")


@pytest.mark.parametrize("directory", DIRECTORIES, ids=["shared", "mini"])
def test_decoding_is_a_beam_search(directory: Path) -> None:
    for task in ("asr", "st"):
        assert load(directory / f"decode_{task}.yaml")["beam_size"] > 1


def test_the_schedule_of_the_embedded_recipe_ends_with_its_training() -> None:
    for task in ("asr", "st"):
        config = load(DIRECTORIES[1] / f"train_{task}.yaml")
        steps = config["max_epoch"] * config["num_iters_per_epoch"]
        assert config["scheduler_conf"]["max_steps"] == steps
