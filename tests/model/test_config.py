"""The model's configuration: what is wrong is said at once, with file and key."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from espnet_part.errors import ConfigError
from espnet_part.model.adapters.linear.conf import LinearConf
from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.config import ModelConfig
from tests.model.tiny import QWEN2, mapping


def parse(**changes: Any) -> ModelConfig:
    return ModelConfig.from_mapping(mapping(**changes), "model.yaml")


def test_picks_its_keys_out_of_a_run_s_configuration() -> None:
    cfg = parse(optim="adamw", phases=[{"name": "x"}], prompts="conf/prompts.yaml")
    assert cfg.encoder == "whisper" and cfg.prompts == "conf/prompts.yaml"
    assert cfg.lora_conf is not None and cfg.lora_conf.targets == ("q_proj", "v_proj")
    assert isinstance(cfg.speech_adapter_conf, TransformerCNNConf)
    linear = parse(speech_adapter="linear", speech_adapter_conf=None)
    assert linear.speech_adapter_conf == LinearConf()
    assert parse(lora_conf=None).lora_conf is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "wisper"}, "model.yaml: encoder: 'wisper' is not one of espnet"),
        ({"speech_adapter": "pformer"}, "model.yaml: speech_adapter: 'pformer'"),
        ({"encoder": ["whisper"]}, "model.yaml: encoder: ['whisper'] is not one of espnet"),
        ({"encoder_conf": {}}, "model.yaml: encoder_conf: give `name`"),
        ({"encoder_conf": {"name": "a", "config": {}}}, "encoder_conf: give `name` or `config`"),
        ({"encoder_conf": {"nam": "a"}}, "unknown key `nam`; did you mean `name`?"),
        (
            {"encoder_conf": {"config": {"d_mode": 3}}},
            "unknown key `config.d_mode`; did you mean `d_model`?",
        ),
        ({"encoder_conf": {"config": {"d_model": -3}}}, "`config.d_model` must be a positive"),
        (
            {"encoder_conf": {"config": {"d_model": 10, "encoder_attention_heads": 3}}},
            "`config.encoder_attention_heads` (3) must divide `config.d_model` (10)",
        ),
        ({"encoder": "espnet", "encoder_conf": {}}, "the key `train_config` is missing"),
        (
            {"speech_adapter_conf": {"dim": 10, "heads": 3}},
            "speech_adapter_conf: `heads` (3) must divide `dim` (10)",
        ),
        ({"speech_adapter_conf": {"downsample": 0}}, "`downsample` must be positive"),
        ({"speech_adapter_conf": {"downsample": 4}}, "frames would be skipped"),
        ({"speech_adapter_conf": {"dropout": 1.5}}, "`dropout` must be in [0, 1)"),
        ({"speech_adapter_conf": {"dim": "wide"}}, "speech_adapter_conf: dim:"),
        ({"llm_conf": {}}, "llm_conf: give `name`"),
        ({"llm_conf": {"config": {"hidden_size": 4}}}, "`config.model_type` is missing"),
        ({"llm_conf": {"config": {**QWEN2, "num_attention_heads": 5}}}, "must divide"),
        ({"llm_conf": {"name": "x", "dtype": "float64"}}, "llm_conf: dtype:"),
        ({"lora_conf": {"rank": 0}}, "model.yaml: lora_conf: `rank` must be positive (got 0)"),
        ({"lora_conf": {"targets": []}}, "`targets` names no module"),
        ({"lora_conf": ["q_proj"]}, "lora_conf: must be a mapping"),
        ({"prompts": 3}, "prompts: must be a path"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(**changes)
    assert message in str(error.value)
    assert str(error.value).startswith("model.yaml: ")


def test_imports_no_torch() -> None:
    code = "import sys, espnet_part.model.config; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
