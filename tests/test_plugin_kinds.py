"""Kinds of another package, and an encoder of transformers, through the commands and an archive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from espnet_part.bin.part_describe import main as part_describe
from espnet_part.bin.part_pack import main as part_pack
from espnet_part.bin.part_plan import main as part_plan
from espnet_part.model.build import build_model
from espnet_part.model.config import ModelConfig
from espnet_part.model.speech_llm import SpeechLLM
from espnet_part.pack.locations import load_run_config
from espnet_part.pack.stored import find_model
from espnet_part.train.checkpoint import load_trained, save_trained
from tests.model.test_transformers_encoder import CONFIGS
from tests.model.tiny import make_batch
from tests.plugin_kinds import ALL, install
from tests.train.tiny import ADAPTER, model_config, stage

HUBERT: dict[str, Any] = {"encoder": "transformers", "encoder_conf": {"config": CONFIGS["hubert"]}}


def write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def files(directory: Path, **changes: Any) -> tuple[str, str]:
    """A stage file and a model file."""
    options = {"use_amp": True, "batch_type": "numel", "batch_bins": 4000}
    phases: list[dict[str, Any]] = [{**ADAPTER, "train": ["adapter", "encoder"], "steps": 3}]
    phases[0]["lr"] = {"adapter": 1e-3, "encoder": 1e-3}
    return (
        write(directory / "stage.yaml", stage(phases, **options)),
        write(directory / "model.yaml", model_config(directory, **changes)),
    )


def outputs(model: SpeechLLM) -> list[Tensor]:
    batch = make_batch([[8000], [4000, 1234]])
    with torch.no_grad():
        states = model.encoder(batch["speech"], batch["speech_lengths"])
        return [*states, *model.adapter(*states), model(**batch).loss]


def pack(directory: Path, config: dict[str, Any], trained: Any, *more: str) -> list[Tensor]:
    """Build, save what of it was ``trained`` and pack it; gives what it computes."""
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_mapping(config, "test")).eval()
    torch.nn.init.normal_(
        model.adapter.get_parameter(next(iter(dict(model.adapter.named_parameters()))))
    )
    names = [name for name, _ in model.named_parameters() if trained(name)]
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).add_(0.01 * torch.randn_like(model.get_parameter(name)))
    (directory / "run").mkdir()
    weights = directory / "run" / "weights.safetensors"
    save_trained(weights, model, names, {})
    options = ["--part_train_config", write(directory / "run" / "config.yaml", config)]
    part_pack([*options, "--part_model_file", str(weights), "--outpath", "packed.zip", *more])
    return outputs(model)


def unpacked(archive: Path, cache: Path) -> list[Tensor]:
    found = find_model(archive, cache=cache)
    cfg = ModelConfig.from_mapping(load_run_config(found.config), str(found.config))
    torch.manual_seed(1)
    model = build_model(cfg).eval()
    load_trained(model, found.weights)
    return outputs(model)


def refused(command: Any, options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        command(options)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_kinds_of_a_plugin_are_described_planned_built_and_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "site", "whole")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    kinds: dict[str, Any] = {"encoder": "whole_patches", "encoder_conf": {"dim": 24}}
    kinds |= {"speech_adapter": "whole_plain", "speech_adapter_conf": {"bias": False}}
    stage_file, model_file = files(tmp_path, **kinds)
    part_describe(["--config", stage_file, "--model_config", model_file])
    # the kind's protected module does not train with the encoder: 320 x 24 + 24
    assert "encoder 7.704 k (2 tensors)" in capsys.readouterr().out
    written = str(tmp_path / "plan.json")
    options = ["--config", stage_file, "--model_config", model_file, "--hours_of_audio", "1"]
    part_plan([*options, "--json", written])
    (planned,) = json.loads(Path(written).read_text())["phases"]
    assert planned["parameters"] == {"adapter": 24 * 16, "encoder": 320 * 24 + 24}

    config = yaml.safe_load(Path(model_file).read_text())
    before = pack(tmp_path, config, lambda name: True)
    shutil.move("packed.zip", tmp_path / "moved.zip")
    after = unpacked(tmp_path / "moved.zip", tmp_path / "cache")
    for one, two in zip(before, after, strict=True):
        assert torch.equal(one, two)


def test_kinds_that_lack_a_part_are_refused_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path / "site", "lacking", set(ALL) - {"shapes", "operations", "packing"})
    source = tmp_path / "site/lacking/patches/module.py"
    source.write_text(source.read_text().replace("if load_weights:", "if False:"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    kinds: dict[str, Any] = {"encoder": "lacking_patches", "speech_adapter": "lacking_plain"}
    kinds |= {"encoder_conf": {}, "speech_adapter_conf": {}}
    stage_file, model_file = files(tmp_path, **kinds)
    config = yaml.safe_load(Path(model_file).read_text())
    assert outputs(build_model(ModelConfig.from_mapping(config, "test")).eval())[-1].isfinite()
    options = ["--config", stage_file, "--model_config", model_file]
    part_describe(options)  # built without memory
    line = refused(part_plan, [*options, "--hours_of_audio", "1"], capsys)
    assert "encoder kind lacking_patches: cannot be planned: it declares no operations" in line
    own = write(
        tmp_path / "own.yaml", {**config, "encoder": "whisper", "encoder_conf": {"config": {}}}
    )
    options = ["--config", stage_file, "--model_config", own, "--hours_of_audio", "1"]
    line = refused(part_plan, options, capsys)
    assert "adapter kind lacking_plain: cannot be planned: it declares no operations" in line
    (tmp_path / "weights.safetensors").touch()
    model = build_model(ModelConfig.from_mapping(config, "test"))
    save_trained(tmp_path / "weights.safetensors", model, ["adapter.linear.weight"], {})
    options = ["--part_train_config", model_file, "--outpath", str(tmp_path / "a.zip")]
    options += ["--part_model_file", str(tmp_path / "weights.safetensors")]
    line = refused(part_pack, options, capsys)
    assert "encoder kind lacking_patches: cannot be packed: it declares no packing" in line
    assert not (tmp_path / "a.zip").exists()


def test_an_encoder_of_transformers_is_described_and_its_plan_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_file, model_file = files(tmp_path, **HUBERT)
    options = ["--config", stage_file, "--model_config", model_file]
    part_describe(options)
    assert "encoder" in capsys.readouterr().out
    line = refused(part_plan, [*options, "--hours_of_audio", "1"], capsys)
    assert "encoder kind transformers: cannot be planned: it declares no operations" in line
    missing = {"encoder": "transformers", "encoder_conf": {"name": str(tmp_path / "none")}}
    changed = write(tmp_path / "none.yaml", {**model_config(tmp_path), **missing})
    line = refused(part_describe, ["--config", stage_file, "--model_config", changed], capsys)
    assert f"{tmp_path}/none: no such model directory" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_conf": {"rank": 2, "targets": ["q_proj"], "use_dora": True}},
        {"speech_adapter": "moe", "speech_adapter_conf": {"experts": 2, "hidden": 12}},
        {
            "speech_adapter": "ctc_compression",
            "speech_adapter_conf": {"dim": 16, "heads": 2, "ff": 32, "characters": " ab"},
        },
    ],
    ids=["dora", "moe", "ctc_compression"],
)
def test_a_packed_model_computes_the_same_elsewhere(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    monkeypatch.chdir(here)
    before = pack(here, model_config(here, **changes), lambda name: True)
    elsewhere.mkdir()
    shutil.move(here / "packed.zip", elsewhere)
    shutil.rmtree(here)
    monkeypatch.chdir(elsewhere)
    after = unpacked(elsewhere / "packed.zip", elsewhere / "cache")
    for one, two in zip(before, after, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["wavlm", "xls-r", "moonshine", "qwen2.5-omni", "qwen3-asr"])
def test_a_packed_encoder_of_transformers_computes_the_same_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espnet_part.model.encoders.transformers.conf import PREPROCESSOR, Conf
    from espnet_part.model.encoders.transformers.module import build
    from espnet_part.model.encoders.transformers.packing import export

    here = tmp_path / "here"
    (here / "encoder").mkdir(parents=True)
    monkeypatch.chdir(here)
    torch.manual_seed(2)
    conf = Conf(config=CONFIGS[name], normalize=False)  # kept in the directory's own file
    export(build(conf), conf, here / "encoder")
    written = json.loads((here / "encoder" / PREPROCESSOR).read_text())
    assert not written.get("do_normalize", False)
    config = model_config(
        here,
        encoder="transformers",
        encoder_conf={"name": str(here / "encoder")},
        speech_adapter="qformer",
        speech_adapter_conf={"window": 5, "queries": 2, "dim": 16, "heads": 2, "ff": 24},
    )
    before = pack(
        here,
        config,
        lambda key: not key.startswith("encoder.") or key.startswith("encoder.layers.1."),
        *("--with_base_models", "true"),
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(here / "packed.zip", elsewhere)
    shutil.rmtree(here)
    monkeypatch.chdir(elsewhere)
    after = unpacked(elsewhere / "packed.zip", elsewhere / "cache")
    for one, two in zip(before, after, strict=True):
        assert torch.equal(one, two)
