"""A stage starts from what the one before it trained, and keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from espnet_part.train.checkpoint import read_header
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, LORA_ONLY, TOP, Workspace, model_config, stage


@pytest.fixture(scope="module")
def first(workspace: Workspace) -> Path:
    """A finished stage that trained the adapter and the encoder's top."""
    workspace.write("first.yaml", stage([{**ADAPTER, "steps": 2}, {**TOP, "steps": 4}]))
    log = workspace.root / "first.log"
    assert part_train(workspace.command("first.yaml", "first"), log) == 0, log.read_text()
    return workspace.root / "first" / "valid.acc.ave.safetensors"


def test_peer_defect_02_what_an_earlier_stage_trained_is_kept(
    workspace: Workspace, first: Path, log: Path
) -> None:
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "second", "--part_init", str(first))
    assert part_train(cmd, log) == 0, log.read_text()
    before, after = (load_file(f) for f in (first, workspace.root / "second/latest.safetensors"))
    assert any(name.startswith("encoder.layers.2") for name in before)
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    assert any(".lora_" in name for name in after.keys() - before.keys())
    assert "loaded encoder 15, adapter" in log.read_text()


def test_only_ever_trained_weights_are_saved(first: Path) -> None:
    groups = {name.split(".")[0] for name in load_file(first)}
    assert groups == {"adapter", "encoder"}
    assert not any(name.startswith("encoder.layers.0") for name in load_file(first))


def test_another_base_model_is_refused(workspace: Workspace, first: Path, log: Path) -> None:
    config = model_config(workspace.root)
    config["llm_conf"]["config"]["rope_theta"] = 5e5  # same shapes, another model
    workspace.write("other_model.yaml", config)
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "other", "--part_init", str(first))
    cmd[cmd.index("--model_config") + 1] = str(workspace.root / "other_model.yaml")
    assert part_train(cmd, log) == 1
    assert "was trained on another llm" in log.read_text()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "damaged"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "not a file of trained weights"),
    ],
    ids=["truncated", "missing", "foreign"],
)
def test_an_unusable_start_is_refused(
    workspace: Workspace, first: Path, log: Path, damage, said: str
) -> None:
    copy = workspace.root / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    damage(copy)
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "refused", "--part_init", str(copy))
    assert part_train(cmd, log) == 1
    assert said in log.read_text().splitlines()[-1]


def test_the_header_says_where_the_weights_come_from(first: Path) -> None:
    metadata, _ = read_header(first)
    assert {base["part"] for base in metadata["base_models"]} == {"encoder", "llm"}
    assert metadata["phase"] == "top"
