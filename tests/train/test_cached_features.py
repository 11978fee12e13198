"""Training reads the frozen encoder's cached output, or computes it: the result is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from espnet_part.model.build import build_encoder
from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, TOP, Workspace, model_config, stage


@pytest.fixture(scope="module")
def cached(workspace: Workspace) -> tuple[str, ...]:
    """A model with a saved encoder, and the options that name its cached output."""
    from espnet_part.bin import part_extract_features

    config = model_config(workspace.root)
    torch.manual_seed(0)
    encoder = build_encoder("whisper", WhisperEncoderConf(**config["encoder_conf"]))
    encoder.save_pretrained(workspace.root / "encoder")
    config["encoder_conf"] = {"name": str(workspace.root / "encoder")}
    model = workspace.write("model.yaml", config)
    options: list[str] = []
    for split in ("train", "valid"):
        out = str(workspace.root / f"feats_{split}")
        part_extract_features.main(
            [
                *("--data_dir", str(workspace.root / split), "--model_config", str(model)),
                *("--out_dir", out),
            ]
        )
        options += [f"--{split}_feats_dir", out]
    return tuple(options)


def test_results_are_equal_with_and_without(
    workspace: Workspace, cached: tuple[str, ...], log: Path
) -> None:
    """The second phase trains the encoder and must go back to the audio."""
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 5}, {**TOP, "steps": 3}]))
    for name, options in (("without", ()), ("with", cached)):
        cmd = workspace.command("stage.yaml", name, *options)
        assert part_train(cmd, log) == 0, log.read_text()
    one, other = (load_file(workspace.root / n / "latest.safetensors") for n in ("with", "without"))
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=1e-5)


def test_the_cache_is_really_read(workspace: Workspace, cached: tuple[str, ...], log: Path) -> None:
    arks = list((workspace.root / "feats_train").glob("*.ark"))
    assert arks
    for path in arks:
        path.unlink()
    workspace.write("stage.yaml", stage([{**ADAPTER, "epochs": 1}]))
    assert part_train(workspace.command("stage.yaml", "gone", *cached), log) == 1
    assert "utterances were bad" in log.read_text()


def test_a_cache_of_another_encoder_is_refused(
    workspace: Workspace, cached: tuple[str, ...], log: Path
) -> None:
    config = model_config(workspace.root)
    config["encoder_conf"] = {"name": str(workspace.root / "encoder"), "pad_to_30s": True}
    workspace.write("model.yaml", config)
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 2}]))
    assert part_train(workspace.command("stage.yaml", "other", *cached), log) == 1
    assert "was made with another encoder" in log.read_text()
