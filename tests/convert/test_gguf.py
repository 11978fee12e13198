"""A causal LM from GGUF computes what the model that was written into it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from espnet_part.convert.gguf import write_causal_lm
from espnet_part.errors import DataError

gguf = pytest.importorskip("gguf")

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config).eval()


def gguf_name(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if stem in outside:
        return f"{outside[stem]}.{ending}"
    _, _, number, part = stem.split(".", 3)
    return f"blk.{number}.{NAMES[part]}.{ending}"


def write(path: Path, model: Any) -> None:
    from tokenizers import pre_tokenizers

    config = model.config
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*letters, "ab", "<|end|>"])
    writer.add_token_merges(["a b"])
    writer.add_token_types([1] * (len(letters) + 1) + [3])
    writer.add_eos_token_id(len(letters) + 1)
    writer.add_bos_token_id(len(letters) + 1)
    for name, tensor in model.state_dict().items():
        writer.add_tensor(gguf_name(name), tensor.float().numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_the_written_model_computes_the_same(model: Any, tmp_path: Path) -> None:
    write(tmp_path / "model.gguf", model)
    out = tmp_path / "out"
    out.mkdir()
    write_causal_lm(tmp_path / "model.gguf", out, dtype="float32")
    assert not list(out.glob("*.bin")) and (out / "model.safetensors").is_file()
    again = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    ids = torch.randint(0, 258, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer("abé")["input_ids"][0] == 256
    assert tokenizer.decode(tokenizer("abé")["input_ids"]) == "abé"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no GGUF at all" * 99])
def test_what_is_none_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.gguf: cannot be read") as error:
        write_causal_lm(tmp_path / "model.gguf", tmp_path)
    assert "\n" not in str(error.value)
