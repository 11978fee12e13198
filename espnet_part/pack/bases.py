"""The base models of a packed model: by name and commit, or inside."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from espnet_part.errors import ConfigError
from espnet_part.model.base import (
    BaseModel,
    describe_base,
    file_sha256,
    find_config,
    find_file,
    find_weights,
    fingerprint,
)
from espnet_part.model.config import ESPnetEncoderConf, LLMConf, ModelConfig, WhisperEncoderConf
from espnet_part.model.protected import PROTECTED
from espnet_part.model.tokenizer import find_tokenizer
from espnet_part.pack.trusted import check_encoder
from espnet_part.parsing import parse_yaml

_LICENCES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "USE_POLICY.md")


@dataclass
class PackedBase:
    """A base model as it is packed.

    Attributes:
        base: its identity, as the packed weights are to carry it.
        conf: what the packed configuration says in its section.
        files: member name -> file.
        source: what it is, for the model card: a hub name, or the last part of a directory's.
        licence: as its own card states it; None where it does not.
    """

    base: BaseModel
    conf: dict[str, Any]
    source: str
    files: dict[str, Path] = field(default_factory=dict)
    licence: str | None = None


def describe_bases(config: ModelConfig) -> list[BaseModel]:
    """The identity of the encoder and of the LLM, as a model built from ``config`` has it."""
    encoder, llm = config.encoder_conf, config.llm_conf
    if isinstance(encoder, ESPnetEncoderConf):
        file = encoder.model_file
        found = BaseModel(
            part="encoder",
            name=file,
            revision=None,
            config_sha256=file_sha256(Path(encoder.train_config)),
            fingerprint=None if file is None else fingerprint([Path(file)]),
        )
    else:
        found = describe_base("encoder", encoder.name, encoder.revision, encoder.config)
    return [found, describe_base("llm", llm.name, llm.revision, llm.config)]


def pack_base(
    conf: WhisperEncoderConf | LLMConf,
    base: BaseModel,
    with_base_models: bool,
    trained: Iterable[str],
    names: Iterable[str],
) -> PackedBase:
    """Decide what of a base model goes into the archive.

    Args:
        base: its identity.
        trained: names of the trained tensors. names: of all tensors of the model.

    Raises:
        ConfigError: it is a directory that is to stay outside, or has random weights that are in no
            file.
    """
    values = {k: v for k, v in dataclasses.asdict(conf).items() if v is not None}
    part = base.part
    if conf.name is None:
        _check_random(part, trained, names)
        return PackedBase(base, values, "made from a configuration, trained from random weights")
    name, revision = conf.name, conf.revision
    local = Path(name).is_dir()
    source = Path(name).resolve().name if local else name
    licence = stated_licence(name, revision)
    if not with_base_models:
        if local:
            raise ConfigError(
                f"the {part} {name} is a directory of this machine: elsewhere the archive would not "
                "load. Put it inside with --with_base_models true, or train from a name of the hub"
            )
        commit = _commit(name, revision) or revision  # a branch may move
        return PackedBase(
            dataclasses.replace(base, revision=commit),
            {**values, "revision": commit} if commit else values,
            source,
            licence=licence,
        )
    folder = f"base_models/{part}"
    files = {
        path.name: path for path in [find_config(name, revision), *find_weights(name, revision)]
    }
    more = ("generation_config.json",) if part == "llm" else ()
    index = ("model.safetensors.index.json",) if len(files) > 2 else ()
    for filename in (*index, *more, *_LICENCES):
        path = _optional(name, revision, filename)
        if path is not None:
            files[filename] = path
    values.pop("revision", None)
    values["name"] = f"./{folder}"
    return PackedBase(
        dataclasses.replace(base, name=values["name"], revision=None),
        values,
        source + (f" at {_commit(name, revision) or revision}" if not local else ""),
        {f"{folder}/{key}": path for key, path in files.items()},
        licence,
    )


def pack_espnet_encoder(
    conf: ESPnetEncoderConf, with_base_models: bool, room: Path, state: Any = None
) -> PackedBase:
    """Pack the encoder of an ESPnet run: what of its configuration and weights the encoder uses.

    Args:
        room: a directory for the files that are made.
        state: the encoder's tensors, where they are not those of its file.

    Raises:
        ConfigError: it is to stay outside, has random weights that are in no file, or is of a kind
            that loads weights of others.
    """
    import safetensors.torch

    from espnet_part.model.encoders.espnet.module import encoder_config, read_weights

    if not with_base_models:
        raise ConfigError(
            f"the encoder {conf.train_config} is an ESPnet model of this machine: elsewhere the "
            "archive would not load. Put it inside with --with_base_models true"
        )
    if conf.model_file is None and state is None:
        raise ConfigError(
            f"the encoder {conf.train_config} has no model_file: its random weights are in no file"
        )
    folder = "base_models/encoder"
    room = room / "encoder"
    room.mkdir()
    values, statistics = encoder_config(Path(conf.train_config))
    check_encoder(values, conf.train_config)
    files = {}
    if statistics is not None:
        name = f"feats_stats{statistics.suffix}"
        values["normalize_conf"] = {**values["normalize_conf"], "stats_file": name}
        files[f"{folder}/{name}"] = statistics
    config, weights = room / "config.yaml", room / "model.safetensors"
    config.write_text(dump_yaml(values), encoding="utf-8")
    if state is None:
        state = read_weights(Path(conf.model_file or ""))
    # safetensors takes neither views nor tensors that share their memory
    whole = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    safetensors.torch.save_file(whole, weights)
    files |= {f"{folder}/{path.name}": path for path in (config, weights)}
    inside = {name: f"./{folder}/{name}" for name in (config.name, weights.name)}
    base = BaseModel(
        part="encoder",
        name=inside[weights.name],
        revision=None,
        config_sha256=file_sha256(config),
        fingerprint=fingerprint([weights]),
    )
    packed = {
        "train_config": inside[config.name],
        "model_file": inside[weights.name],
        "batched": conf.batched,
    }
    return PackedBase(base, packed, "an encoder of ESPnet", files)


def tokenizer_files(conf: LLMConf) -> dict[str, Path]:
    """The tokenizer's files; the configuration beside them tells which class reads them."""
    return {f"tokenizer/{filename}": path for filename, path in find_tokenizer(conf).items()}


def stated_licence(name: str, revision: str | None) -> str | None:
    """The licence that a model's card states in its head."""
    card = _optional(name, revision, "README.md")
    if card is None:
        return None
    _, mark, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    head, end, _ = rest.partition("\n---")
    if not mark or not end:
        return None
    try:
        values = parse_yaml(head, name)
    except ConfigError:
        return None
    licence = values.get("license") if isinstance(values, dict) else None
    return str(licence) if licence else None


def dump_yaml(values: dict[str, Any]) -> str:
    """YAML in the order of the keys."""
    # through JSON: tuples become lists, which a safe loader reads
    plain = json.loads(json.dumps(values))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _commit(name: str, revision: str | None) -> str | None:
    """The commit that the cache holds under ``revision``: …/snapshots/<commit>/config.json."""
    path = find_config(name, revision)
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def _optional(name: str, revision: str | None, filename: str) -> Path | None:
    try:
        return find_file(name, revision, filename)
    except ConfigError:
        return None  # without a network, a file that the model lacks cannot be told from others


def _check_random(part: str, trained: Iterable[str], names: Iterable[str]) -> None:
    fixed = [p for p in PROTECTED if p != part]  # Whisper's positions are a formula
    chosen = set(trained)
    lost = [
        name
        for name in names
        if name.startswith(f"{part}.")
        and name not in chosen
        and not any(name.startswith(f"{p}.") for p in fixed)
    ]
    if lost:
        raise ConfigError(
            f"the {part} has random weights, made from its configuration in memory, and "
            f"{len(lost)} of its tensors were never trained (such as {lost[0]}): they are in no "
            "file, so the model cannot be packed. Save the base model first and name it"
        )
