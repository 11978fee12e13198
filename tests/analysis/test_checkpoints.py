"""The models of an experiment, in the order of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from espnet_part.analysis.checkpoints import check_names, file_name, phase_models
from espnet_part.errors import ConfigError, DataError
from espnet_part.weights import write_weights


def make_stage(directory: Path, phases: dict[str, int], epochs: int | None = None) -> Path:
    """A stage with the last epoch of each phase; ``epochs`` of which are still there."""
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("{}\n")
    lines, epoch = [], 0
    for phase, count in phases.items():
        for _ in range(count):
            epoch += 1
            lines.append(json.dumps({"phase": phase, "epoch": epoch}) + "\n")
            if epochs is None or epoch <= epochs:
                write_weights(directory / f"{epoch}epoch.safetensors", {"w": torch.ones(1)}, {})
    (directory / "history.jsonl").write_text("".join(lines))
    return directory


def test_the_ends_of_all_phases_in_the_order_of_stages(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        make_stage(tmp_path / f"exp/part/stage{number}", {"low": 2, "high": 1})
    models = phase_models(str(tmp_path / "exp/part"))
    assert [model.name for model in models] == [
        *("stage1 low", "stage1 high", "stage2 low", "stage2 high", "stage10 low", "stage10 high"),
    ]
    assert {model.system for model in models} == {"part"}
    assert [model.weights.name for model in models[:2]] == [
        "2epoch.safetensors",
        "3epoch.safetensors",
    ]
    assert all(model.config.parent == model.weights.parent for model in models)
    one = phase_models(str(tmp_path / "exp/part/stage2"))
    assert [(model.system, model.key) for model in one] == [
        ("part", "stage2_low"),
        ("part", "stage2_high"),
    ]


def test_models_that_are_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_stage(tmp_path / "part/stage1", {"low": 1, "high": 1}, epochs=1)
    assert [model.phase for model in phase_models(str(tmp_path / "part"))] == ["low"]
    assert "2epoch.safetensors, the last model of phase high, is gone" in caplog.text
    make_stage(tmp_path / "other/stage1", {"low": 1}, epochs=0)
    with pytest.raises(DataError, match="none of its models is there any more"):
        phase_models(str(tmp_path / "other"))


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    stage = make_stage(tmp_path / "part/stage1", {"low": 1})
    (stage / "history.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(DataError, match=r"history\.jsonl: a line lacks the field 'phase'"):
        phase_models(str(tmp_path / "part"))


def test_two_of_one_name(tmp_path: Path) -> None:
    for place in ("a", "b"):
        make_stage(tmp_path / place / "part/stage1", {"low": 1})
    models = [m for place in ("a", "b") for m in phase_models(str(tmp_path / place / "part"))]
    check_names(models[:1])
    with pytest.raises(ConfigError, match="are both called part, stage1 low"):
        check_names(models)


def test_names_of_files_hold_no_signs_of_paths() -> None:
    assert file_name("../a b", "stage1_ä/x") == ".._a_b_stage1_ä_x"
