"""Tiny speech LLMs of several kinds, trained, as it were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_part.model.build import build_model
from espnet_part.model.config import ModelConfig
from espnet_part.train.checkpoint import save_trained
from tests.decode.conftest import PROMPTS, make_tokenizer
from tests.model.tiny import speak_up

WHISPER = {
    "encoder": "whisper",
    "encoder_conf": {
        "silence": 0.5,
        "config": {
            "d_model": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "num_mel_bins": 16,
            "max_source_positions": 200,
        },
    },
}
WAV2VEC2 = {
    "encoder": "transformers",
    "encoder_conf": {
        "normalize": False,
        "config": {
            "model_type": "wav2vec2",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "conv_dim": [8] * 7,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
    },
}
ADAPTERS: dict[str, dict[str, Any]] = {
    "linear": {"stack": 4, "hidden": 16},
    "moe": {"stack": 3, "hidden": 16, "experts": 2},
    "qformer": {"window": 9, "queries": 2, "dim": 16, "heads": 2, "ff": 32},
    "transformer_cnn": {"dim": 16, "heads": 2, "ff": 32, "layers": 1, "downsample": 3},
    "ctc_compression": {"dim": 16, "heads": 2, "ff": 32, "layers": 1, "characters": "abc "},
    "ctc_spelling": {"dim": 16, "heads": 2, "ff": 32, "layers": 1, "characters": "abc "},
}
CHAT = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
LLM = {
    "model_type": "qwen2",
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,  # 32 wide: vLLM's attention on CPUs takes multiples of that
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "eos_token_id": [7, 8, 9, 20, 21, 22, 33],  # some answers then end by themselves
    "tie_word_embeddings": False,
}


def train(
    path: Path,
    encoder: Mapping[str, Any],
    adapter: str,
    chat: bool = True,
    loud: bool = True,
    more_tokens: Sequence[str] = (),
    **llm: Any,
) -> Path:
    """A training's directory: config.yaml, weights, prompts, tokenizer.

    Args:
        chat: whether the tokenizer has a chat template. more_tokens: that it has besides.
        loud: whether the encoder's weights are so large that clips lead to different answers.
        llm: changes of its sizes.
    """
    from transformers import AutoTokenizer

    path.mkdir()
    make_tokenizer(path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(path / "tokenizer")
    tokenizer.chat_template = CHAT if chat else None
    tokenizer.add_tokens(list(more_tokens), special_tokens=True)
    tokenizer.save_pretrained(path / "tokenizer")
    (path / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    config = {
        **encoder,
        "speech_adapter": adapter,
        "speech_adapter_conf": ADAPTERS[adapter],
        "llm_conf": {
            "config": {**LLM, **llm},
            "tokenizer": str(path / "tokenizer"),
            "dtype": "float32",
        },
        "lora_conf": {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]},
        "prompts": str(path / "prompts.yaml"),
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_mapping(config, "config.yaml"))
    speak_up(model, loud)
    names = [name for name, _ in model.named_parameters()]
    save_trained(path / "valid.acc.ave.safetensors", model, names, {})
    return path
