"""From a configuration to a model."""

from __future__ import annotations

from typing import Any

import torch

from espnet_part.model.adapters.linear.module import LinearAdapter
from espnet_part.model.adapters.transformer_cnn.module import TransformerCNNAdapter
from espnet_part.model.config import (
    AdapterConf,
    EncoderConf,
    LinearConf,
    ModelConfig,
    WhisperEncoderConf,
)
from espnet_part.model.encoders.whisper.module import WhisperEncoder
from espnet_part.model.llm import LLM
from espnet_part.model.speech_llm import SpeechLLM
from espnet_part.model.tokenizer import load_tokenizer

__all__ = ["build_adapter", "build_encoder", "build_model", "load_tokenizer", "meta_shapes"]


def build_model(cfg: ModelConfig, load_weights: bool = True) -> SpeechLLM:
    """Build the speech LLM, every parameter frozen.

    Args:
        cfg: what to build.
        load_weights: False leaves the weights of the base models random.

    Raises:
        ConfigError: a base model, its weights, its tokenizer or a LoRA target is not there.
    """
    encoder = build_encoder(cfg.encoder_conf, load_weights)
    has_tokenizer = cfg.llm_conf.tokenizer is not None or cfg.llm_conf.name is not None
    tokenizer = load_tokenizer(cfg.llm_conf) if load_weights and has_tokenizer else None
    llm = LLM.from_conf(cfg.llm_conf, cfg.lora_conf, load_weights, tokenizer)
    adapter = build_adapter(cfg.speech_adapter_conf, encoder.dim, llm.dim)
    if not next(llm.parameters()).is_meta:
        adapter.match_scale(llm.embedding_std())
    return SpeechLLM(encoder, adapter, llm)


def build_encoder(conf: EncoderConf, load_weights: bool = True) -> Any:
    """Build a speech encoder alone (for feature extraction and pretraining)."""
    if isinstance(conf, WhisperEncoderConf):
        return WhisperEncoder.from_conf(conf, load_weights)
    # imports every encoder that ESPnet has, which takes ten seconds
    from espnet_part.model.encoders.espnet.module import ESPnetEncoder

    return ESPnetEncoder.from_conf(conf, load_weights)


def build_adapter(
    conf: AdapterConf, encoder_dim: int, llm_dim: int
) -> LinearAdapter | TransformerCNNAdapter:
    """Build the adapter between an encoder's states and an LLM's embeddings."""
    if isinstance(conf, LinearConf):
        return LinearAdapter(conf, encoder_dim, llm_dim)
    return TransformerCNNAdapter(conf, encoder_dim, llm_dim)


def meta_shapes(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters, from a model built without memory for its weights.

    Slower than `espnet_part.model.shapes.parameter_shapes` (it imports torch), and knows all models.
    """
    with torch.device("meta"):
        model = build_model(cfg, load_weights=False)
    return {name: tuple(p.shape) for name, p in model.named_parameters()}
