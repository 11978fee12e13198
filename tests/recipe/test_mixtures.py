"""What stage 5 says of the trainings to come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_part.errors import ConfigError
from espnet_part.recipe.mixtures import expected_mixtures

MODEL = str(Path(__file__).parents[2] / "conf/model/whisper_small_qwen2.5_0.5b.yaml")


@pytest.fixture
def stats(tmp_path: Path) -> Path:
    lines = [
        {"task": "asr", "lang": lang, "tgt": lang, "utterances": size, "hours": size / 900}
        | {"prompt_tokens": 20 * size, "answer_tokens": 20 * size}
        for lang, size in (("de", 900), ("ta", 90))
    ]
    path = tmp_path / "mixture.json"
    path.write_text(json.dumps(lines))
    return path


def stage(tmp_path: Path, name: str, phase: dict[str, Any], **options: Any) -> str:
    path = tmp_path / name
    whole = {"name": "one", "train": ["adapter"], "lr": {"adapter": 1e-3}, "tasks": ["asr"]}
    path.write_text(yaml.safe_dump({**options, "phases": [{**whole, **phase}]}))
    return str(path)


def test_every_stage_has_its_table(tmp_path: Path, stats: Path) -> None:
    size = {"batch_type": "unsorted", "batch_size": 10}
    one = stage(tmp_path, "stage1.yaml", {"epochs": 2, "min_share": {"ta": 0.5}}, **size)
    two = stage(tmp_path, "stage2.yaml", {"steps": 99}, **size)
    said = expected_mixtures(stats, [one, two], MODEL, ["--accum_grad", "2"])
    first, second = said.split(f"What {two} is to hear")
    assert first.startswith(f"What {one} is to hear")
    assert "|   min 50 % |  1.10 |     11 |" in first
    assert "|     9.09 % |  0.20 |      2 |" in second  # 99 steps of 20 examples


def test_a_limit_that_cannot_be_kept_ends_the_recipe_before_the_trainings(
    tmp_path: Path, stats: Path
) -> None:
    path = stage(tmp_path, "stage1.yaml", {"steps": 9000, "max_epochs": 3}, batch_bins=160000)
    with pytest.raises(ConfigError, match="phase one: max_epochs: allows 2,970"):
        expected_mixtures(stats, [path], MODEL, [])


def test_a_step_of_unknown_size_is_left_to_the_training(tmp_path: Path, stats: Path) -> None:
    path = stage(tmp_path, "stage1.yaml", {"steps": 9})
    said = expected_mixtures(stats, [path], MODEL, [])
    assert "is told when they begin" in said and "batch_bins" in said
