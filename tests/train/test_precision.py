"""Small updates of a bfloat16 LLM are not lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from espnet_part.errors import ConfigError
from espnet_part.train.precision import hold_in_float32, masters
from tests.train.launch import part_train
from tests.train.tiny import LORA_ONLY, Workspace, model_config, stage


def test_without_autocast_it_is_refused() -> None:
    model = nn.Linear(2, 2).to(torch.bfloat16)
    with pytest.raises(ConfigError, match="use --use_amp true"):
        masters(model, ["weight"], amp=False)
    assert not masters(model, [], amp=False)
    hold_in_float32(model, masters(model, ["weight"], amp=True))
    assert (model.weight.dtype, model.bias.dtype) == (torch.float32, torch.bfloat16)


def test_small_updates_move_a_bfloat16_llm(workspace: Workspace, log: Path) -> None:
    """Two steps of 1e-5 each: below half a step of bfloat16 for most weights."""
    config = model_config(workspace.root)
    config["llm_conf"]["dtype"] = "bfloat16"
    model = workspace.write("bfloat16.yaml", config)
    phase = {**LORA_ONLY, "name": "llm", "train": ["llm.model.model.layers"], "lr": {"llm": 1e-5}}
    options = {"use_amp": True, "num_iters_per_epoch": 1, "keep_nbest_models": 3}
    workspace.write("llm.yaml", stage([{**phase, "steps": 2}], scheduler=None, **options))
    cmd = workspace.command("llm.yaml", "llm", "--model_config", str(model))
    assert part_train(cmd, log) == 0, log.read_text()
    one, two = (load_file(workspace.root / f"llm/{n}epoch.safetensors") for n in (1, 2))
    assert all(tensor.dtype == torch.float32 for tensor in two.values())
    moved = sum(int((one[name] != two[name]).sum()) for name in two)
    assert moved > 0.9 * sum(tensor.numel() for tensor in two.values())
    assert "are held in float32" in log.read_text()
