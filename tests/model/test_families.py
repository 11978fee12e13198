"""Families of transformers' causal LMs: those that train and decode, and what is said of others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from espnet_part.errors import ConfigError
from espnet_part.model.causal_lm import load_causal_lm
from espnet_part.model.config import LLMConf, LoRAConf
from espnet_part.model.llm import LLM
from espnet_part.model.lora import inject_lora

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
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
SHARED = {**EXPERTS, "shared_expert_intermediate_size": 16}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
}
#: One layer without attention and one with it, as every fourth or so of the real ones.
DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
#: The widths are in its real configurations, too: transformers does not read them, vLLM does.
CONVOLUTION = {"layer_types": ["conv", "full_attention"], "conv_dim": 32, "block_dim": 32}
ZAMBA = {
    "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
    "num_hidden_layers": 3,
    "attention_head_dim": 16,
    "mamba_d_state": 8,
}
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
    "qwen2_moe": {**SIZES, **SHARED},
    "qwen3_moe": {**SIZES, **HEADS, **EXPERTS},
    "qwen3_next": {**SIZES, **HEADS, **DELTA, **SHARED},
    "qwen3_5_text": {**SIZES, **HEADS, **DELTA},
    "llama": SIZES,
    "mistral": SIZES,
    "ministral3": SIZES,
    "mixtral": {**SIZES, "num_local_experts": 2, "num_experts_per_tok": 1},
    "gemma": {**SIZES, **HEADS},
    "gemma3_text": {**SIZES, **HEADS},
    "gemma3": GEMMA3,  # its text model
    "gemma4_text": {**SIZES, **HEADS, "hidden_size_per_layer_input": 0},
    "phi": SIZES,
    "phi3": {**SIZES, "pad_token_id": 0},
    "smollm3": SIZES,
    "granite": SIZES,
    "granitemoehybrid": {
        **{**SIZES, **MAMBA, "layer_types": ["mamba", "attention"]},
        **{"num_local_experts": 0, "shared_intermediate_size": 32},
    },
    "olmo2": SIZES,
    "olmo3": SIZES,
    "olmo_hybrid": {**SIZES, **DELTA},
    "cohere": SIZES,
    "cohere2": SIZES,
    "glm4": SIZES,
    "exaone4": SIZES,
    "nemotron": SIZES,
    "apertus": SIZES,
    "seed_oss": SIZES,
    "stablelm": SIZES,
    "falcon": SIZES,
    "gpt2": {**GPT, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "bamba": {**SIZES, **MAMBA, "attn_layer_indices": [1]},
    "zamba": {**SIZES, **ZAMBA, "n_mamba_heads": 2},
    "zamba2": {**SIZES, **ZAMBA, "n_mamba_heads": 4, "mamba_headdim": 16},
    "falcon_h1": {**SIZES, **MAMBA},
    "nemotron_h": {
        **{**SIZES, "layers_block_type": ["mamba", "attention"], "n_groups": 1},
        **{"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8},
    },
    "jamba": {
        **{**SIZES, "attn_layer_offset": 1, "attn_layer_period": 2},
        **{"expert_layer_period": 2, "num_experts": 2, "num_experts_per_tok": 1},
    },
    "lfm2": {**SIZES, **CONVOLUTION},
}
#: with `attention: eager`, which is said where it is missing.
EAGER: dict[str, dict[str, Any]] = {
    "gemma2": {**SIZES, **HEADS},
    "gpt_oss": {**SIZES, **HEADS, "num_local_experts": 2, "num_experts_per_tok": 1},
    "bloom": {**GPT, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "vocab_size": 97},
    "xglm": {**GPT, "d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "mamba2": {**SIZES, "num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8},
}
#: refused when they are built, not after a training.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "llama4_text": (SIZES, "no attribute 'last_hidden_state'"),
    "gemma4_text": ({**SIZES, **HEADS}, "needs to reverse the embedding"),
    "recurrent_gemma": ({**SIZES, "block_types": ["recurrent"]}, "current Cache seem to only"),
}
GEMMA3N = {**SIZES, **HEADS, "num_hidden_layers": 5, "num_kv_shared_layers": 0}
TABLE = Path(__file__).parents[2] / "docs/llms.md"


def build(family: str, sizes: dict[str, Any], attention: str = "sdpa", **more: Any) -> LLM:
    torch.manual_seed(0)
    config = {"model_type": family, **sizes}
    conf = LLMConf(config=config, dtype="float32", attention=attention, **more)
    llm = LLM.from_conf(conf).eval()
    for parameter in llm.parameters():
        # random weights at their usual scale hardly look at the input; these do
        if parameter.dim() == 2 and parameter is not llm.embedding.weight:
            parameter.data.mul_(5)
    return llm


def build_working(family: str, **more: Any) -> LLM:
    return build(family, {**WORK, **EAGER}[family], "eager" if family in EAGER else "sdpa", **more)


def greedy_without_a_cache(llm: LLM, embeddings: Tensor, steps: int) -> list[int]:
    ids: list[int] = []
    for _ in range(steps):
        mask = torch.ones(embeddings.shape[:2], dtype=torch.bool)
        positions = torch.arange(embeddings.shape[1])[None]
        logits = llm.logits(llm.hidden(embeddings, mask, positions)[:, -1])
        ids.append(int(logits.argmax()))
        embeddings = torch.cat([embeddings, llm.embedding(logits.argmax(-1)[None])], 1)
    return ids


@torch.no_grad()
@pytest.mark.parametrize("family", [*WORK, *EAGER])
def test_a_family_trains_and_decodes(family: str) -> None:
    llm = build_working(family)
    ids = torch.randint(2, 97, (2, 9))
    rows = llm.embedding(ids)
    lengths = torch.tensor([9, 6])
    mask = torch.arange(9) < lengths[:, None]
    positions = torch.arange(9).expand(2, -1)
    together = llm.hidden(rows, mask, positions)
    alone = llm.hidden(rows[1:, :6], mask[1:, :6], positions[1:, :6])
    torch.testing.assert_close(together[1:, :6], alone, atol=1e-4, rtol=1e-4)
    theirs = llm.model(input_ids=ids[:1]).logits
    torch.testing.assert_close(llm.logits(together[:1]), theirs, atol=1e-4, rtol=1e-4)

    padded = torch.stack([rows[0], torch.cat([torch.zeros(3, llm.dim), rows[1, :6]])])
    left = torch.arange(9) >= 9 - lengths[:, None]
    limits = torch.tensor([6, 6])
    llm.end_token_ids = []
    for beam_size in (1, 2):
        found, _ = llm.generate(padded, left, limits, beam_size)
        single, _ = llm.generate(rows[1:, :6], mask[1:, :6], limits[1:], beam_size)
        assert found[1] == single[0]
        if beam_size == 1:
            assert single[0] == greedy_without_a_cache(llm, rows[1:, :6], 6)


@pytest.mark.parametrize("family", [*WORK, *EAGER])
def test_checkpointed_layers_of_a_family_give_the_same_gradients(family: str) -> None:
    gradients, runs = [], []
    for on in (False, True):
        llm = build_working(family, gradient_checkpointing=on)
        count = [0]
        leaf = next(m for m in llm.layers[-1].modules() if not [*m.children()])
        leaf.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        rows = torch.randn(2, 6, llm.dim, generator=torch.Generator().manual_seed(1))
        rows.requires_grad_(True)
        mask = torch.arange(6) < torch.tensor([[6], [4]])
        hidden = llm.hidden(rows, mask, torch.arange(6).expand(2, -1))
        hidden[mask].square().sum().backward()
        gradients.append(rows.grad)
        runs.append(count[0])
    torch.testing.assert_close(*gradients)
    assert runs[1] == 2 * runs[0]


def table_row(family: str) -> str:
    """What can be measured of a family's row, in the words of the table."""
    llm = build_working(family)
    with pytest.raises(ConfigError, match="there are") as error:
        inject_lora(llm.model, LoRAConf(targets=("none",)))
    linear = str(error.value).partition("there are ")[2].split(", ")
    scale = llm.embedding_std() / float(llm.embedding.get_parameter("weight").std())
    return " | ".join(
        (
            f"`{family}`",
            "eager" if family in EAGER else "sdpa",
            " ".join(f"`{name}`" for name in linear),
            "yes" if {"q_proj", "v_proj"} <= {*linear} else "**no**",
            "1" if round(scale) == 1 else "√width",
        )
    )


@pytest.mark.parametrize("family", [*WORK, *EAGER])
def test_the_table_says_of_a_family_what_is_measured(family: str) -> None:
    assert table_row(family) in TABLE.read_text(encoding="utf-8")


def test_the_table_has_no_other_families() -> None:
    tables = TABLE.read_text(encoding="utf-8").split("## Refused")
    for text, expected in zip(tables, ([*WORK, *EAGER], [*REFUSED, "gemma3n_text"]), strict=True):
        found = re.findall(r"^\| [^|]+ \| `(\w+)` \|", text, re.MULTILINE)
        assert found == ["model_type", *expected]


def test_a_row_says_of_vllm_yes_or_why_not_or_nothing() -> None:
    table = TABLE.read_text(encoding="utf-8").partition("## Refused")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(WORK) + len(EAGER)
    for *cells, vllm, end in rows:
        assert len(cells) == 8 and not end
        assert re.fullmatch(r" (yes |no: .+ )?", vllm)


@pytest.mark.parametrize("family", EAGER)
def test_a_family_without_sdpa_names_the_setting(family: str) -> None:
    with pytest.raises(
        ConfigError, match=f"\\({family}\\) has no sdpa.*llm_conf: attention: eager"
    ):
        build(family, EAGER[family])


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_does_not_read_embeddings_is_refused_at_once(family: str) -> None:
    sizes, reason = REFUSED[family]
    with pytest.raises(ConfigError, match="cannot be used: it does not read embeddings") as error:
        build(family, sizes)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_family_with_more_than_one_embedding_of_a_token_is_refused() -> None:
    llm = build("gemma3n_text", GEMMA3N)
    llm.check_reads_embeddings("llm_conf: x")  # at first its other embeddings do nothing
    for name, parameter in llm.named_parameters():
        if name.endswith("correct_output_scale"):
            parameter.data.fill_(1.0)
    with pytest.raises(ConfigError, match="a token's number tells it more than its embedding"):
        llm.check_reads_embeddings("llm_conf: x")


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
