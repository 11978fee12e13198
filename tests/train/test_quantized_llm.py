"""A training with an LLM in 4 bits: alone and on two processes, decoded and exported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from espnet_part.bin.part_export import main as part_export
from espnet_part.decode.speech2text import Speech2Text
from tests.model.tiny import needs_bitsandbytes
from tests.pack.conftest import save_base_models, strengthen
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, JOINT, Workspace, model_config, stage

PHASES = [{**ADAPTER, "steps": 2}, {**JOINT, "steps": 4}]


def quantized(workspace: Workspace) -> None:
    root = workspace.root
    if not (root / "llm").exists():
        save_base_models(root)
    config = model_config(root)
    shutil.rmtree(root / "tokenizer")
    llm: dict[str, Any] = {"name": str(root / "llm"), "dtype": "float32", "quantization": "nf4"}
    config["llm_conf"] = llm
    config["encoder_conf"] = {"name": str(root / "encoder")}
    workspace.write("model.yaml", config)


@needs_bitsandbytes
def test_two_processes_train_what_one_does_and_it_is_exported_whole(
    workspace: Workspace, log: Path, tmp_path: Path
) -> None:
    quantized(workspace)
    weights = []
    for world in (1, 2):
        name = f"nf4_{world}"
        workspace.write(f"{name}.yaml", stage(PHASES, batch_size=8))
        assert part_train(workspace.command(f"{name}.yaml", name), log, world=world) == 0, (
            log.read_text()
        )
        weights.append(load_file(workspace.root / name / "latest.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, rtol=0, atol=1e-5)
    assert any(tensor.abs().max() > 0 for key, tensor in weights[0].items() if "lora_B" in key)

    run = workspace.root / "nf4_1"
    strengthen(run / "latest.safetensors")
    part_export(
        [
            *("--part_train_config", str(run / "config.yaml"), "--out", str(tmp_path / "out")),
            *("--part_model_file", str(run / "latest.safetensors"), "--merge_lora", "true"),
        ]
    )
    own = Speech2Text(run / "config.yaml", run / "latest.safetensors")
    exported = Speech2Text.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in exported.model.llm.parameters()} == {torch.float32}
    assert torch.uint8 in {p.dtype for p in own.model.llm.parameters()}
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    settings = {"task": "asr", "lang": "de"}
    told = [model(noise, **settings)[0].token_int for model in (own, exported)]
    assert told[0] == told[1] and len(told[0]) > 3


def test_what_does_not_go_with_it_ends_at_once(workspace: Workspace, log: Path) -> None:
    quantized(workspace)
    base = {**JOINT, "train": ["adapter", "llm"], "lr": {"adapter": 1e-3, "llm": 1e-3}, "steps": 2}
    workspace.write("base.yaml", stage([base]))
    assert part_train(workspace.command("base.yaml", "base"), log) != 0
    assert "an LLM in 4 bits learns through `llm.lora` alone" in log.read_text()
    workspace.write("shared.yaml", stage(PHASES, parallel="fsdp2"))
    assert part_train(workspace.command("shared.yaml", "shared"), log, world=2) != 0
    assert "fsdp2 does not share an LLM in 4 bits" in log.read_text()
