"""A trained model as one archive that loads on another machine.

ESPnet's own ``pack_funcs.pack`` is not used: it stores files as they are under the names that they
have here, while a packed model has its own names and paths, and the same content the same bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import platform
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_part import __version__
from espnet_part.config import dump_yaml, load_yaml
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.config import ModelConfig
from espnet_part.model.packing import PackedBase
from espnet_part.pack.bases import (
    describe_bases,
    pack_bases,
    tokenizer_files,
)
from espnet_part.pack.card import Card, results_of
from espnet_part.pack.locations import PACKED, find_recipe, load_run_config
from espnet_part.pack.manifest import KEY, manifest_of
from espnet_part.pack.provenance import read_training_data, stages_of, training_keys
from espnet_part.pack.zipped import write_zip
from espnet_part.versions import MODEL_PACKAGES, installed_versions

WEIGHTS = "model.safetensors"
_MODEL_KEYS = tuple(ModelConfig.__dataclass_fields__)
_TEXTS = (".md", ".yaml", ".json", ".txt", ".jinja")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")  # "/root" is a token
_FIGURE = re.compile(r"\]\((figures/[\w.-]+\.png)\)")


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What goes into an archive beside the model; all of it may be missing.

    Attributes:
        results: RESULTS.md; the figures that it shows come along from beside it.
        result_dir: a decoding directory, whose result.md tables the model card shows.
        score_config, decode_config: how it was scored and decoded.
        corpora: corpus.json files; by default those in the training directories.
        licence: of the weights, as an identifier of the hub (apache-2.0, cc-by-nc-4.0, …).
        title: the model's name; by default the archive's. repo: its name on the hub.
    """

    results: Path | None = None
    result_dir: Path | None = None
    score_config: Path | None = None
    decode_config: Path | None = None
    corpora: list[Path] | None = None
    licence: str | None = None
    title: str | None = None
    repo: str | None = None


@dataclass
class Archive:
    """What goes into an archive."""

    bases: list[PackedBase]
    config: dict[str, Any]
    meta: dict[str, Any]
    members: dict[str, Path | bytes] = field(default_factory=dict)


def pack(
    config: Path,
    weights: Path,
    archive: Path,
    with_base_models: bool = False,
    extras: Extras | None = None,
) -> list[str]:
    """Pack a trained model into a zip, whole or not at all.

    Args:
        config: config.yaml of the training. weights: what it trained (safetensors).
        archive: the zip to write.
        with_base_models: put the base models inside; without, they are named.

    Returns:
        The names of its members.

    Raises:
        ConfigError: a base model, the prompts or the tokenizer cannot be packed.
        DataError: the weights are damaged or were trained on other base models.
    """
    if archive.suffix != ".zip":
        raise ConfigError(f"{archive}: an archive's name must end with .zip")
    extras = extras or Extras()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packing.", dir=archive.parent) as name:
        packed = collect(config, weights, archive.name, with_base_models, extras, Path(name))
        _warn_of_leaks(packed.members, find_recipe(load_yaml(config), config))
        write_zip(archive, packed.members)
    return list(packed.members)


def collect(
    config: Path,
    weights: Path,
    archive_name: str,
    with_base_models: bool,
    extras: Extras,
    room: Path,
) -> Archive:
    """Gather the members of an archive; files that are made for it go into ``room``."""
    from espnet_part.train.checkpoint import check_bases
    from espnet_part.weights import copy_weights, read_header

    values = load_run_config(config)
    model = ModelConfig.from_mapping(values, str(config))
    if model.prompts is None:
        raise ConfigError(f"{config}: the key `prompts` is missing")
    header, trained = read_header(weights)
    described = describe_bases(model)
    check_bases([dataclasses.asdict(b) for b in described], header.get("base_models", []), weights)
    bases = pack_bases(model, described, with_base_models, trained, room)

    header["base_models"] = [dataclasses.asdict(base.base) for base in bases]
    copy_weights(weights, room / WEIGHTS, header)

    packed = {key: values[key] for key in _MODEL_KEYS if values.get(key) is not None}
    packed["encoder_conf"], packed["llm_conf"] = (dict(base.conf) for base in bases)
    packed["llm_conf"] = portable_attention({**packed["llm_conf"], "tokenizer": "./tokenizer"})
    packed["prompts"] = "./prompts.yaml"
    versions = installed_versions(MODEL_PACKAGES)
    packed = {PACKED: f"espnet_part {__version__}", **packed}
    packed |= training_keys(values)

    recipe = find_recipe(load_yaml(config), config)
    stages = stages_of(values, recipe)
    data = read_training_data(values, recipe, extras.corpora)
    card = Card(
        title=extras.title or Path(archive_name).stem,
        archive=archive_name,
        bases=bases,
        data=data,
        stages=stages,
        repo=extras.repo,
        licence=extras.licence,
        results=results_of(extras.result_dir) if extras.result_dir else {},
        versions=versions,
    )
    meta: dict[str, Any] = {
        "yaml_files": {"part_train_config": "config.yaml"},
        "files": {"part_model_file": WEIGHTS},
        # of the training, not of the packing: the same model gives the same archive
        "timestamp": weights.stat().st_mtime,
        "python": platform.python_version(),
        **versions,
    }
    members: dict[str, Path | bytes] = {
        "meta.yaml": b"",  # first: ESPnet looks for it there
        "README.md": card.render().encode(),
        "config.yaml": dump_yaml(packed).encode(),
        "prompts.yaml": prompts_file(Path(model.prompts)),
        WEIGHTS: room / WEIGHTS,
    }
    for base in bases:
        members |= base.files
    members |= tokenizer_files(model.llm_conf)
    for number, stage in enumerate(stages, 1):
        members[f"training/stage{number}.yaml"] = dump_yaml(stage).encode()
    if data.normalizer:
        members["text_normalizer"] = f"{data.normalizer}\n".encode()
    members |= _documents(extras)
    meta[KEY] = manifest_of(members)
    members["meta.yaml"] = dump_yaml(meta).encode()
    return Archive(bases, packed, meta, members)


def prompts_file(path: Path) -> bytes:
    """The prompts, with what they inherit through ``base``."""
    content = path.read_bytes()
    if re.search(rb"^base\s*:", content, re.MULTILINE):
        return dump_yaml(load_yaml(path)).encode()
    return content


def portable_attention(llm_conf: dict[str, Any]) -> dict[str, Any]:
    """Without an attention that is not in every installation of transformers."""
    portable = llm_conf.get("attention") in ("eager", "sdpa")
    return llm_conf if portable else {k: v for k, v in llm_conf.items() if k != "attention"}


def _documents(extras: Extras) -> dict[str, Path | bytes]:
    found: dict[str, Path | bytes] = {}
    if extras.results is not None:
        found["RESULTS.md"] = _existing(extras.results)
        text = extras.results.read_text(encoding="utf-8")
        for figure in dict.fromkeys(_FIGURE.findall(text)):
            path = extras.results.parent / figure
            if path.is_file():
                found[figure] = path
            else:
                logging.warning("%s: shows %s, which is missing", extras.results, figure)
    for name, path in (("score.yaml", extras.score_config), ("decode.yaml", extras.decode_config)):
        if path is not None:
            found[name] = dump_yaml(load_yaml(path)).encode()
    return found


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return path


def _warn_of_leaks(members: dict[str, Path | bytes], recipe: Path) -> None:
    """Say which texts name this machine's directories; those of this package do not.

    A base model's or a tokenizer's configuration may, as may RESULTS.md.
    """
    private = {str(recipe.resolve()).encode(), str(Path.home()).encode()} - {b"/", b""}
    for name, source in members.items():
        if Path(name).suffix not in _TEXTS or Path(name).name in _VOCABULARIES:
            continue
        content = source if isinstance(source, bytes) else source.read_bytes()
        for directory in private:
            if directory in content:
                logging.warning("%s names the directory %s", name, directory.decode())
