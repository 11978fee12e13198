"""Moving a model whose encoder is SenseVoice's: without its pickled weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_part.model.base import BaseModel, file_sha256, fingerprint
from espnet_part.model.encoder_files import check_packable, own_tensors, write_files
from espnet_part.model.encoders.sensevoice.conf import SenseVoiceConf
from espnet_part.model.packing import PackedBase


def identify(conf: SenseVoiceConf) -> BaseModel:
    """See `espnet_part.model.kinds.PackingPart`."""
    files = [Path(file) for file in (conf.model_file, conf.cmvn_file) if file is not None]
    return BaseModel(
        part="encoder",
        name=conf.model_file,
        revision=None,
        config_sha256=file_sha256(Path(conf.train_config)),
        fingerprint=None if conf.model_file is None else fingerprint(files),
    )


def pack(
    conf: SenseVoiceConf,
    base: BaseModel,
    with_base_models: bool,
    trained: Collection[str],
    names: Callable[[], Iterable[str]],
    room: Path,
) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`: what of its files the encoder uses."""
    from espnet_part.model.encoders.sensevoice.module import read_weights

    weights = check_packable(conf.train_config, conf.model_file, "a file", with_base_models)
    return _write(conf, read_weights(weights), room)


def export(encoder: Any, conf: SenseVoiceConf, directory: Path) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`."""
    import shutil

    packed = _write(conf, own_tensors(encoder), directory)
    for name, source in packed.files.items():
        if source.parent != directory:
            shutil.copyfile(source, directory / name)
    return packed


def check(conf: Mapping[str, Any], where: Path) -> None:
    """See `espnet_part.model.kinds.PackingPart`: `build` takes numbers and tensors, and no code."""


def _write(conf: SenseVoiceConf, state: Mapping[str, Any], room: Path) -> PackedBase:
    """Write what makes the encoder into ``room``; its statistics are a file of their own."""
    from espnet_part.model.encoders.sensevoice.module import encoder_config

    config, weights = write_files(encoder_config(Path(conf.train_config)), state, room)
    files = {path.name: path for path in (config, weights)}
    if conf.cmvn_file is not None:
        files["am.mvn"] = Path(conf.cmvn_file)
    marks = [weights, *([files["am.mvn"]] if "am.mvn" in files else [])]
    base = BaseModel(
        part="encoder",
        name="./model.safetensors",
        revision=None,
        config_sha256=file_sha256(config),
        fingerprint=fingerprint(marks),
    )
    packed = {
        "train_config": "./config.yaml",
        "model_file": "./model.safetensors",
        "cmvn_file": "./am.mvn" if "am.mvn" in files else None,
        "language": conf.language,
        "use_itn": conf.use_itn,
    }
    return PackedBase(base, packed, "SenseVoiceSmall", files)
