"""Moving a model whose encoder is one of ESPnet's: without its pickled checkpoint, with its statistics."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.model.base import BaseModel, file_sha256, fingerprint
from espnet_part.model.encoder_files import check_packable, own_tensors, write_files
from espnet_part.model.encoders.espnet.conf import ESPnetEncoderConf
from espnet_part.model.packing import PackedBase
from espnet_part.parsing import read_yaml

#: ESPnet's modules that are made from numbers alone (and statistics that numpy reads).
PLAIN = {
    "frontend": frozenset(("default", "sliding_window")),
    "normalize": frozenset(("global_mvn", "utterance_mvn")),
    "preencoder": frozenset(("sinc", "linear")),
    "encoder": frozenset(
        (
            *("conformer", "transformer", "branchformer", "e_branchformer", "multiconv_conformer"),
            *("contextual_block_transformer", "contextual_block_conformer"),
            *("vgg_rnn", "rnn", "longformer"),
        )
    ),
}


def identify(conf: ESPnetEncoderConf) -> BaseModel:
    """See `espnet_part.model.kinds.PackingPart`."""
    file = conf.model_file
    return BaseModel(
        part="encoder",
        name=file,
        revision=None,
        config_sha256=file_sha256(Path(conf.train_config)),
        fingerprint=None if file is None else fingerprint([Path(file)]),
    )


def pack(
    conf: ESPnetEncoderConf,
    base: BaseModel,
    with_base_models: bool,
    trained: Collection[str],
    names: Callable[[], Iterable[str]],
    room: Path,
) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`: what of its run's files the encoder uses."""
    from espnet_part.model.encoders.espnet.module import read_weights

    weights = check_packable(
        conf.train_config, conf.model_file, "an ESPnet model", with_base_models
    )
    return _write(conf, read_weights(weights), room)


def export(encoder: Any, conf: ESPnetEncoderConf, directory: Path) -> PackedBase:
    """See `espnet_part.model.kinds.PackingPart`."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as room:
        packed = _write(conf, own_tensors(encoder), Path(room))
        for name, source in packed.files.items():
            shutil.copyfile(source, directory / name)
    return packed


def check(conf: Mapping[str, Any], where: Path) -> None:
    """See `espnet_part.model.kinds.PackingPart`: encoders of numbers alone, not of others' weights."""
    path = conf.get("train_config")
    if isinstance(path, str):
        try:
            # read just as the encoder will be, or the two could differ
            check_plain(read_yaml(path), path)
        except ConfigError as error:
            raise DataError(str(error)) from None


def check_plain(values: Any, where: str) -> None:
    """Refuse an ESPnet encoder that is not `PLAIN`.

    Args:
        values: the configuration of its training. where: its file.

    Raises:
        ConfigError: names the module.
    """
    if not isinstance(values, Mapping):
        return  # no configuration at all, which the encoder refuses
    for part, plain in PLAIN.items():
        kind = values.get(part)
        if kind is not None and (not isinstance(kind, str) or kind not in plain):
            raise ConfigError(
                f"{where}: {part}: {kind!r} may load weights of others, or run their code, so it "
                f"cannot be in a packed model; what can is {', '.join(sorted(plain))}"
            )


def _write(conf: ESPnetEncoderConf, state: Mapping[str, Any], room: Path) -> PackedBase:
    """Write what makes the encoder into ``room``: its configuration, weights and statistics."""
    from espnet_part.model.encoders.espnet.module import encoder_config

    values, statistics = encoder_config(Path(conf.train_config))
    check_plain(values, conf.train_config)
    files = {}
    if statistics is not None:
        name = f"feats_stats{statistics.suffix}"
        values["normalize_conf"] = {**values["normalize_conf"], "stats_file": name}
        files[name] = statistics
    config, weights = write_files(values, state, room)
    files |= {path.name: path for path in (config, weights)}
    base = BaseModel(
        part="encoder",
        name=f"./{weights.name}",
        revision=None,
        config_sha256=file_sha256(config),
        fingerprint=fingerprint([weights]),
    )
    packed = {
        "train_config": f"./{config.name}",
        "model_file": f"./{weights.name}",
        "batched": conf.batched,
    }
    return PackedBase(base, packed, "an encoder of ESPnet", files)
