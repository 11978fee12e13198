"""Moving a model whose encoder is Whisper's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_part.model.base import BaseModel, describe_base
from espnet_part.model.encoders.whisper.conf import (
    PROTECTED,
    WHISPER_CONFIG_KEYS,
    WhisperEncoderConf,
)
from espnet_part.model.packing import PackedBase, pack_directory


def identify(conf: WhisperEncoderConf) -> BaseModel:
    """See `espnet_part.model.kinds.PackingPart`."""
    return describe_base("encoder", conf.name, conf.revision, conf.config)


def pack(
    conf: WhisperEncoderConf,
    base: BaseModel,
    with_base_models: bool,
    trained: Collection[str],
    names: Callable[[], Iterable[str]],
    room: Path,
) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`."""
    fixed = [f"encoder.{name}" for name in PROTECTED]  # the positions are a formula
    return pack_directory(conf, base, with_base_models, trained, names, fixed)


def export(encoder: Any, conf: WhisperEncoderConf, directory: Path) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`: as transformers' WhisperEncoder."""
    import safetensors.torch
    import torch

    from espnet_part.files import apply_umask

    encoder.config.architectures = ["WhisperEncoder"]
    encoder.config.dtype = torch.float32
    encoder.config.save_pretrained(directory)
    state = {name: tensor.detach().cpu().clone() for name, tensor in encoder.state_dict().items()}
    weights = directory / "model.safetensors"
    safetensors.torch.save_file(state, weights, {"format": "pt"})
    apply_umask(weights)
    base = describe_base("encoder", str(directory), None, None)
    values: dict[str, Any] = {"name": "."}
    if conf.pad_to_30s:
        values["pad_to_30s"] = True
    if conf.silence:
        values["silence"] = conf.silence
    return PackedBase(dataclasses.replace(base, name="."), values, "transformers' WhisperEncoder")


def without_files(encoder: Any, conf: WhisperEncoderConf) -> dict[str, Any]:
    """See `espnet_part.model.kinds.PackingPart`."""
    sizes = {key: getattr(encoder.config, key) for key in WHISPER_CONFIG_KEYS}
    return {"config": sizes, "pad_to_30s": conf.pad_to_30s, "silence": conf.silence}


def check(conf: Mapping[str, Any], where: Path) -> None:
    """See `espnet_part.model.kinds.PackingPart`: sizes and safetensors, which run nothing."""
