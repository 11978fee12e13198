"""From a configuration to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.config import ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.function import function_digests
from espnet_part.model.llm import LLM
from espnet_part.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from espnet_part.model.speech_llm import SpeechLLM

__all__ = ["build_adapter", "build_encoder", "build_model", "load_tokenizer", "meta_shapes"]


def build_model(cfg: ModelConfig, load_weights: bool = True) -> SpeechLLM:
    """Build the speech LLM, every parameter frozen.

    Args:
        cfg: what to build.
        load_weights: False leaves the weights of the base models random.

    Raises:
        ConfigError: a base model, its weights, its tokenizer or a LoRA target is not there.
    """
    # is a model of ESPnet's; a part alone is built without ESPnet
    from espnet_part.model.speech_llm import SpeechLLM

    has_tokenizer = cfg.llm_conf.tokenizer is not None or cfg.llm_conf.name is not None
    tokenizer = load_tokenizer(cfg.llm_conf) if load_weights and has_tokenizer else None
    model = SpeechLLM(**_build_parts(cfg, load_weights, tokenizer))
    model.function = function_digests(cfg, tokenizer)
    return model


def build_encoder(kind: str, conf: Any, load_weights: bool = True) -> Any:
    """Build a speech encoder alone (for feature extraction and pretraining).

    Args:
        kind: its name. conf: the kind's own settings (`ModelConfig.encoder_conf`).

    Raises:
        ConfigError: see `espnet_part.model.kinds.EncoderModulePart`.
    """
    _attend_without_plans()
    return ENCODERS.module(kind).build(conf, load_weights)


def build_adapter(kind: str, conf: Any, encoder_dim: int, llm_dim: int) -> Any:
    """Build the adapter between an encoder's states and an LLM's embeddings.

    Args:
        kind: its name. conf: the kind's own settings (`ModelConfig.speech_adapter_conf`).
    """
    return ADAPTERS.module(kind).build(conf, encoder_dim, llm_dim)


def _attend_without_plans() -> None:
    """Take cuDNN's attention out of torch's choice, for this process.

    On Hopper and Blackwell GPUs it comes first, and makes a plan for each shape of a batch that it has not
    seen, which takes up to a second; batches of speech by size have a new shape at most steps. (FunASR's
    issue 3704; here, on an H100: 0.46 s for each of the first 50 steps of a stage, 0.055 s from the 100th
    on.) The kernels that remain give the same within rounding, and know no plans.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def meta_shapes(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters, from parts built without memory for their weights.

    See `espnet_part.model.shapes.model_shapes`, which needs it for few models.
    """
    with torch.device("meta"):
        parts = _build_parts(cfg, load_weights=False)
    return {
        name: tuple(parameter.shape)
        for part, module in parts.items()
        for name, parameter in module.named_parameters(prefix=part)
    }


def _build_parts(cfg: ModelConfig, load_weights: bool, tokenizer: Any = None) -> dict[str, Any]:
    encoder = build_encoder(cfg.encoder, cfg.encoder_conf, load_weights)
    llm = LLM.from_conf(cfg.llm_conf, cfg.lora_conf, load_weights, tokenizer)
    adapter = build_adapter(cfg.speech_adapter, cfg.speech_adapter_conf, encoder.dim, llm.dim)
    if not next(llm.parameters()).is_meta:
        adapter.match_scale(llm.embedding_std())
    if tokenizer is not None and hasattr(adapter, "read_llm"):
        adapter.read_llm(llm.embedding, tokenizer)
    return {"encoder": encoder, "adapter": adapter, "llm": llm}
