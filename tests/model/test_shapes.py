"""Counted shapes against the modules themselves, built without memory."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError
from espnet_part.model.config import ModelConfig
from espnet_part.model.encoders.whisper.shapes import ARCHITECTURES
from espnet_part.model.shapes import _ARCHITECTURES, parameter_shapes
from tests.model.tiny import LORA, QWEN2, WHISPER, make_config, mapping

PUBLIC: dict[str, Any] = {
    name: sizes
    for table in (ARCHITECTURES, _ARCHITECTURES)
    for name, sizes in yaml.safe_load(table.read_text()).items()
}
SMALL = {key: value for key, value in QWEN2.items() if key != "model_type"}
REPOSITORY = Path(__file__).parents[2]
SHARED = sorted((REPOSITORY / "conf" / "model").glob("*.yaml"))


def check(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    from espnet_part.model.build import meta_shapes

    counted = parameter_shapes(cfg)
    assert counted is not None
    assert list(counted.items()) == list(meta_shapes(cfg).items())
    return counted


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_conf": None},
        {"lora_conf": {**LORA, "targets": ["o_proj", "mlp.down_proj", "k_proj"]}},
        {"lora_conf": {**LORA, "targets": ["k_proj", "up_proj"], "use_dora": True}},
        {
            "speech_adapter_conf": {
                **{"dim": 16, "heads": 2, "ff": 32, "input_norm": True},
                **{"positions": "convolutional", "position_kernel": 5, "position_groups": 4},
            }
        },
        {"speech_adapter": "linear", "speech_adapter_conf": {"stack": 3, "hidden": 10}},
        {
            "speech_adapter": "linear",
            "speech_adapter_conf": {"embedding_norm": False},
        },
        {"speech_adapter": "qformer"},
        {"speech_adapter": "moe", "speech_adapter_conf": {"stack": 1, "hidden": 9}},
        {
            "speech_adapter": "ctc_compression",
            "speech_adapter_conf": {"dim": 16, "heads": 2, "ff": 32, "characters": " ab"},
        },
        {
            "speech_adapter": "moe",
            "speech_adapter_conf": {"experts": 2, "hidden": 10, "embedding_norm": False},
        },
        {
            "speech_adapter": "qformer",
            "speech_adapter_conf": {"queries": 3, "dim": 8, "heads": 2, "ff": 24, "layers": 1},
        },
        {"llm_conf": {"config": {**SMALL, "model_type": "qwen3", "tie_word_embeddings": False}}},
        {"llm_conf": {"config": {**SMALL, "model_type": "llama", "attention_bias": True}}},
        {"llm_conf": {"config": {**SMALL, "model_type": "llama", "mlp_bias": True, "head_dim": 6}}},
        {"llm_conf": {"config": {"model_type": "qwen2"}}, "encoder_conf": {"config": {}}},
        {"llm_conf": {"config": {"model_type": "qwen3"}}},
        {"llm_conf": {"config": {"model_type": "llama", "num_attention_heads": 16}}},
    ],
    ids=str,
)
def test_equals_the_modules(changes: dict[str, Any]) -> None:
    check(make_config(**changes))


BILLIONS = {
    # without the position table: 1500 x width
    "openai/whisper-tiny": 0.0076,
    "openai/whisper-base": 0.0198,
    "openai/whisper-small": 0.0870,
    "openai/whisper-medium": 0.3058,
    "openai/whisper-large-v2": 0.6352,
    "openai/whisper-large-v3": 0.6352,
    "openai/whisper-large-v3-turbo": 0.6352,
    # as on their model cards
    "Qwen/Qwen2.5-0.5B": 0.49,
    "Qwen/Qwen2.5-1.5B": 1.54,
    "Qwen/Qwen2.5-3B": 3.09,
    "Qwen/Qwen2.5-7B": 7.61,
    "Qwen/Qwen3-0.6B": 0.6,
    "Qwen/Qwen3-1.7B": 1.7,
    "Qwen/Qwen3-4B": 4.0,
    "Qwen/Qwen3-8B": 8.2,
}


def named(name: str, directory: Path | None = None) -> ModelConfig:
    """A configuration with the well-known model and, beside it, a tiny one."""
    part = "encoder_conf" if "whisper" in name else "llm_conf"
    return make_config(**{part: {"name": str(directory or name)}})


def test_the_table_is_tested() -> None:
    assert set(PUBLIC) == set(BILLIONS)


@pytest.mark.parametrize("name", BILLIONS)
def test_well_known_models_have_their_published_size(name: str) -> None:
    shapes = parameter_shapes(named(name))
    assert shapes is not None
    prefix = "encoder" if "whisper" in name else "llm"
    count = sum(
        math.prod(shape)
        for key, shape in shapes.items()
        if key.startswith(prefix) and ".lora_" not in key and "positions" not in key
    )
    assert count / 1e9 == pytest.approx(BILLIONS[name], rel=0.03)
    if "Qwen" in name:
        assert parameter_shapes(named(f"{name}-Instruct")) == shapes


@pytest.mark.parametrize("name", ["openai/whisper-large-v3", "Qwen/Qwen2.5-1.5B", "Qwen/Qwen3-8B"])
def test_well_known_models_equal_the_modules(name: str, tmp_path: Path) -> None:
    """The same sizes read from a directory give the same parameters as the modules."""
    import json

    sizes = PUBLIC[name]
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert check(named(name, tmp_path)) == parameter_shapes(named(name))


def test_unknown_models_have_no_answer() -> None:
    assert parameter_shapes(make_config(llm_conf={"name": "somebody/something"})) is None
    assert parameter_shapes(make_config(llm_conf={"config": {"model_type": "gpt2"}})) is None
    espnet = make_config(encoder="espnet", encoder_conf={"train_config": "config.yaml"})
    assert parameter_shapes(espnet) is None


def test_peer_defect_05_a_lora_target_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'query' is no linear module.*down_proj.*q_proj"):
        parameter_shapes(make_config(lora_conf={"targets": ["query"]}))


def test_a_directory_without_a_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        parameter_shapes(named("llm", tmp_path))


def test_there_are_shared_configurations() -> None:
    assert len(SHARED) >= 3


@pytest.mark.parametrize("path", SHARED, ids=str)
def test_shared_configurations_can_be_counted(path: Path) -> None:
    cfg = ModelConfig.from_mapping(load_yaml(path), str(path))
    shapes = parameter_shapes(cfg)
    assert shapes is not None
    assert any(".lora_" in name for name in shapes)
    assert cfg.prompts


def test_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from espnet_part.config import load_yaml\n"
        "from espnet_part.model.config import ModelConfig\n"
        "from espnet_part.model.shapes import parameter_shapes\n"
        f"path = {str(REPOSITORY / 'conf/model/whisper_large_v3_qwen2.5_7b.yaml')!r}\n"
        "assert parameter_shapes(ModelConfig.from_mapping(load_yaml(path), path))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MISSPELT = """
import sys
from espnet_part.bin.part_describe import main
try:
    main(["--config", sys.argv[1], "--model_config", sys.argv[2]])
except SystemExit as stopped:
    assert stopped.code == 1
assert not {"torch", "transformers", "espnet2"} & set(sys.modules)
"""


@pytest.mark.parametrize("part", ["encoder", "llm"])
def test_a_misspelt_base_model_is_refused_before_torch_is_imported(
    part: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.yaml"
    encoder = {"encoder": "transformers", "encoder_conf": {"config": {"model_type": "hubert"}}}
    path.write_text(yaml.safe_dump(mapping(**{**encoder, f"{part}_conf": {"name": "nobody/typo"}})))
    stage = REPOSITORY / "conf/system/part/stage1.yaml"
    done = subprocess.run(
        [sys.executable, "-c", MISSPELT, str(stage), str(path)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "nobody/typo" in done.stderr


def test_whisper_sizes_of_the_tiny_model_are_its_own() -> None:
    shapes = parameter_shapes(make_config())
    assert shapes is not None
    assert shapes["encoder.conv2.weight"] == (WHISPER["d_model"], WHISPER["d_model"], 3)
