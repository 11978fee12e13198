"""A model on an ESPnet encoder is packed with its statistics and without its pickled checkpoint."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_part.bin.part_export import main as part_export
from espnet_part.bin.part_pack import main as part_pack
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.errors import ConfigError
from espnet_part.model.build import build_model
from espnet_part.model.config import ModelConfig
from espnet_part.model.encoders.espnet.conf import ESPnetEncoderConf
from espnet_part.model.encoders.espnet.packing import PLAIN, identify, pack
from espnet_part.train.checkpoint import save_trained
from tests.model.test_espnet_encoder import CONFIGS, make_asr
from tests.pack.conftest import decode


@pytest.fixture
def run(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose encoder is a small conformer with global mean and variance normalisation."""
    recipe = tmp_path / "recipe"
    make_asr(CONFIGS["conformer"], recipe)
    for name in ("llm", "prompts.yaml"):
        (shutil.copytree if name == "llm" else shutil.copy)(master / "conf" / name, recipe / name)
    config = {
        "encoder": "espnet",
        "encoder_conf": {
            "train_config": "exp/run/config.yaml",
            "model_file": "exp/run/valid.acc.best.pth",
        },
        "speech_adapter": "linear",
        "speech_adapter_conf": {"stack": 4, "hidden": 16},
        "llm_conf": {"name": "llm", "dtype": "float32"},
        "lora_conf": {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]},
        "prompts": "prompts.yaml",
    }
    run = recipe / "exp/part"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(recipe)
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_mapping(config, "config.yaml"))
    names = [n for n, _ in model.named_parameters() if n.startswith("adapter.") or ".lora_" in n]
    names += [n for n, _ in model.named_parameters() if n.startswith("encoder.layers.")]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names and parameter.ndim > 1:
                parameter.normal_(std=0.3)
    save_trained(run / "valid.acc.ave.safetensors", model, names, {})
    monkeypatch.chdir(tmp_path)
    return run


def test_the_same_tokens_elsewhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = decode(Speech2Text.from_pretrained(run))
    assert len({tuple(ids[:4]) for ids in expected}) > 3
    archive, out = tmp_path / "model.zip", tmp_path / "exported"
    part_pack(["--model", str(run), "--outpath", str(archive), "--with_base_models", "true"])
    part_export(["--model", str(run), "--out", str(out)])
    shutil.rmtree(run.parents[1])
    # statistics of another model where one stands are not taken
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    wrong = np.random.default_rng(1).normal(3, 9, (50, 80))
    np.savez("feats_stats.npz", count=50, sum=wrong.sum(0), sum_square=(wrong**2).sum(0))
    assert decode(Speech2Text.from_pretrained(archive)) == expected
    assert decode(Speech2Text.from_pretrained(out)) == expected
    with zipfile.ZipFile(archive) as file:
        assert {name for name in file.namelist() if name.startswith("base_models/encoder")} == {
            f"base_models/encoder/{name}"
            for name in ("config.yaml", "model.safetensors", "feats_stats.npz")
        }
        kept = yaml.safe_load(file.read("base_models/encoder/config.yaml"))
    assert kept["normalize_conf"]["stats_file"] == "feats_stats.npz"
    from espnet_model_zoo.downloader import ModelDownloader

    files = ModelDownloader(tmp_path / "zoo").download_and_unpack(str(archive))
    assert decode(Speech2Text(**files)) == expected


def test_it_must_go_inside(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        part_pack(["--model", str(run), "--outpath", str(tmp_path / "model.zip")])
    assert "is an ESPnet model of this machine" in capsys.readouterr().err
    assert not (tmp_path / "model.zip").exists()


def test_one_that_loads_weights_of_others_is_refused(run: Path, tmp_path: Path) -> None:
    path = run.parents[1] / "exp/run/config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "frontend": "s3prl"}))
    weights = path.with_name("valid.acc.best.pth")
    conf = ESPnetEncoderConf(train_config=str(path), model_file=str(weights))
    with pytest.raises(ConfigError, match="'s3prl' may load weights of others"):
        pack(conf, identify(conf), True, [], list, tmp_path)


def test_what_may_be_packed_are_names_of_espnet() -> None:
    from espnet2.tasks import asr

    for part, plain in PLAIN.items():
        assert plain <= set(getattr(asr, f"{part}_choices").classes)
