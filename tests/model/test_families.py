"""Families of transformers' causal LMs: those that train and decode, and what is said of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from espnet_part.errors import ConfigError
from espnet_part.model.causal_lm import load_causal_lm
from espnet_part.model.config import LLMConf
from espnet_part.model.llm import LLM

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "eos_token_id": 1,
    "pad_token_id": None,
    "bos_token_id": None,
}
HEADS = {"head_dim": 8}
EXPERTS = {"num_experts_per_tok": 1, "moe_intermediate_size": 16}
GPT = {"vocab_size": 97, "eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 0}
GEMMA3 = {
    "text_config": {**SIZES, **HEADS, "model_type": "gemma3_text"},
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
}
#: model_type -> sizes: built as configured by default.
WORK: dict[str, dict[str, Any]] = {
    "qwen2": SIZES,
    "qwen3": {**SIZES, **HEADS},
    "qwen2_moe": {**SIZES, **EXPERTS, "num_experts": 2, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {**SIZES, **HEADS, **EXPERTS, "num_experts": 2},
    "llama": SIZES,
    "mistral": SIZES,
    "mixtral": {**SIZES, "num_local_experts": 2, "num_experts_per_tok": 1},
    "gemma": {**SIZES, **HEADS},
    "gemma3_text": {**SIZES, **HEADS},
    "gemma3": GEMMA3,  # its text model
    "granite": SIZES,
    "cohere": SIZES,
    "smollm3": SIZES,
    "gpt2": {**GPT, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
}
#: with `attention: eager`, which is said where it is missing.
EAGER: dict[str, dict[str, Any]] = {
    "gemma2": {**SIZES, **HEADS},
    "gpt_oss": {**SIZES, **HEADS, "num_local_experts": 2, "num_experts_per_tok": 1},
    "bloom": {**GPT, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "vocab_size": 97},
    "xglm": {**GPT, "d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
}
#: refused when they are built, not after a training.
REFUSED: dict[str, dict[str, Any]] = {
    "llama4_text": SIZES,
    "gemma4_text": {**SIZES, **HEADS},
    "qwen3_next": SIZES,
}


def build(family: str, sizes: dict[str, Any], attention: str = "sdpa") -> LLM:
    torch.manual_seed(0)
    config = {"model_type": family, **sizes}
    return LLM.from_conf(LLMConf(config=config, dtype="float32", attention=attention)).eval()


@torch.no_grad()
@pytest.mark.parametrize("family", [*WORK, *EAGER])
def test_a_family_trains_and_decodes(family: str) -> None:
    attention = "eager" if family in EAGER else "sdpa"
    llm = build(family, {**WORK, **EAGER}[family], attention)
    rows = 0.1 * torch.randn(2, 6, llm.dim)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    positions = torch.arange(6).expand(2, -1)
    together = llm.hidden(rows, mask, positions)
    alone = llm.hidden(rows[1:, :4], mask[1:, :4], positions[1:, :4])
    torch.testing.assert_close(together[1:, :4], alone, atol=1e-4, rtol=1e-4)

    padded = torch.stack([rows[0], torch.cat([torch.zeros(2, llm.dim), rows[1, :4]])])
    left = torch.arange(6) >= torch.tensor([[0], [2]])
    limits = torch.tensor([6, 6])
    for beam_size in (1, 2):
        ids, _ = llm.generate(padded, left, limits, beam_size)
        single, _ = llm.generate(rows[1:, :4], mask[1:, :4], limits[1:], beam_size)
        assert ids[1] == single[0]


@pytest.mark.parametrize("family", EAGER)
def test_a_family_without_sdpa_names_the_setting(family: str) -> None:
    with pytest.raises(
        ConfigError, match=f"\\({family}\\) has no sdpa.*llm_conf: attention: eager"
    ):
        build(family, EAGER[family])


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_does_not_read_embeddings_is_refused_at_once(family: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used: it does not read embeddings") as error:
        build(family, REFUSED[family])
    assert "\n" not in str(error.value)


def test_of_a_multimodal_model_the_text_model_is_taken(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma3", **GEMMA3))
    assert type(whole).__name__ == "Gemma3ForConditionalGeneration"
    whole.save_pretrained(tmp_path)
    text = load_causal_lm(LLMConf(name=str(tmp_path), dtype="float32"))
    assert type(text).__name__ == "Gemma3ForCausalLM"
    for name, tensor in whole.model.language_model.state_dict().items():
        assert torch.equal(text.model.state_dict()[name], tensor), name


def test_tensors_without_a_place_are_named_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = AutoConfig.for_model("qwen2", **SIZES)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    capfd.readouterr()
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {**weights, "a\x1b[2Jb": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    load_causal_lm(LLMConf(name=str(tmp_path)))
    assert "1 of its tensors have no place" in caplog.text
    assert "\x1b" not in caplog.text
    assert "\x1b" not in "".join(capfd.readouterr())


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model("qwen2", **SIZES)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"lack 1 tensors, model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        LLM.from_conf(LLMConf(name=str(tmp_path)))
