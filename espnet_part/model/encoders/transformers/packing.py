"""Moving a model whose encoder is one of transformers'."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_part.model.base import BaseModel, describe_base
from espnet_part.model.encoders.transformers.conf import (
    PREPROCESSOR,
    PROTECTED,
    TransformersEncoderConf,
)
from espnet_part.model.packing import PackedBase, pack_directory


def identify(conf: TransformersEncoderConf) -> BaseModel:
    """See `espnet_part.model.kinds.PackingPart`."""
    return describe_base("encoder", conf.name, conf.revision, conf.config)


def pack(
    conf: TransformersEncoderConf,
    base: BaseModel,
    with_base_models: bool,
    trained: Collection[str],
    names: Callable[[], Iterable[str]],
    room: Path,
) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`."""
    fixed = [f"encoder.{name}" for name in PROTECTED]  # the positions are a formula
    more = (PREPROCESSOR,)
    return pack_directory(conf, base, with_base_models, trained, names, fixed, more)


def export(encoder: Any, conf: TransformersEncoderConf, directory: Path) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`: as a directory that `AutoModel` loads."""
    import safetensors.torch

    from espnet_part.files import apply_umask

    encoder.model.config.architectures = [type(encoder.model).__name__]
    encoder.model.config.save_pretrained(directory)
    state = {
        name: tensor.detach().cpu().clone() for name, tensor in encoder.model.state_dict().items()
    }
    weights = directory / "model.safetensors"
    safetensors.torch.save_file(state, weights, {"format": "pt"})
    apply_umask(weights)
    (directory / PREPROCESSOR).write_text(json.dumps(encoder.features.settings()), encoding="utf-8")
    base = describe_base("encoder", str(directory), None, None)
    return PackedBase(dataclasses.replace(base, name="."), {"name": "."}, "transformers' AutoModel")


def without_files(encoder: Any, conf: TransformersEncoderConf) -> dict[str, Any]:
    """See `espnet_part.model.kinds.PackingPart`."""
    return {"config": encoder.model.config.to_dict(), "normalize": conf.normalizes()}


def check(conf: Mapping[str, Any], where: Path) -> None:
    """See `espnet_part.model.kinds.PackingPart`: `build` takes sizes, numbers and safetensors from it,
    and nothing that a configuration names: no code, no kernel of the hub, no quantisation."""
