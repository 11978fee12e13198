"""The parameters of a Whisper encoder by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.model.encoders.whisper.conf import WhisperEncoderConf
from espnet_part.model.sizes import Named, Shape, norm, read_sizes, transformer_layer

ARCHITECTURES = Path(__file__).with_name("architectures.yaml")

# What transformers assumes where a config.json is silent.
_DEFAULTS = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}


def encoder_sizes(conf: WhisperEncoderConf) -> dict[str, Any] | None:
    """The sizes in the words of its config.json; None for an unknown name of the hub.

    Raises:
        ConfigError: a directory without a config.json, or of another model.
    """
    sizes = read_sizes(conf.name, conf.config, ARCHITECTURES)
    if sizes is None:
        return None
    if sizes.get("model_type", "whisper") != "whisper":
        raise ConfigError(f"encoder_conf: {conf.name}: is not a Whisper model")
    return {**_DEFAULTS, **sizes}


def shapes(conf: WhisperEncoderConf) -> tuple[int, Mapping[str, Shape]] | None:
    """See `espnet_part.model.kinds.EncoderShapesPart`."""
    sizes = encoder_sizes(conf)
    return None if sizes is None else (sizes["d_model"], dict(_parameters(sizes)))


def _parameters(sizes: dict[str, Any]) -> Named:
    dim = sizes["d_model"]
    yield "encoder.conv1.weight", (dim, sizes["num_mel_bins"], 3)
    yield "encoder.conv1.bias", (dim,)
    yield "encoder.conv2.weight", (dim, dim, 3)
    yield "encoder.conv2.bias", (dim,)
    yield "encoder.embed_positions.weight", (sizes["max_source_positions"], dim)
    for layer in range(sizes["encoder_layers"]):
        yield from transformer_layer(f"encoder.layers.{layer}", dim, sizes["encoder_ffn_dim"])
    yield from norm("encoder.layer_norm", dim)
