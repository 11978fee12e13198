"""The base models of a packed model: by name and commit, or inside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path

from espnet_part.model.base import BaseModel, describe_base
from espnet_part.model.config import LLMConf, ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.packing import PackedBase, pack_directory
from espnet_part.model.tokenizer import find_tokenizer


def describe_bases(config: ModelConfig) -> list[BaseModel]:
    """The identity of the encoder and of the LLM, as a model built from ``config`` has it."""
    llm = config.llm_conf
    return [
        ENCODERS.packing(config.encoder).identify(config.encoder_conf),
        describe_base("llm", llm.name, llm.revision, llm.config),
    ]


def pack_bases(
    config: ModelConfig,
    described: Iterable[BaseModel],
    with_base_models: bool,
    trained: Collection[str],
    room: Path,
) -> list[PackedBase]:
    """Decide what of the encoder's and the LLM's base model goes into the archive.

    Args:
        described: from `describe_bases`.
        trained: names of the trained tensors.
        room: a directory for files that are made.

    Raises:
        ConfigError: one cannot be packed like this.
    """
    encoder, llm = described
    names = _tensor_names(config)
    packing = ENCODERS.packing(config.encoder)
    (room / "encoder").mkdir()
    first = packing.pack(
        config.encoder_conf, encoder, with_base_models, trained, names, room / "encoder"
    )
    more = ("generation_config.json",)
    second = pack_directory(config.llm_conf, llm, with_base_models, trained, names, more=more)
    return [first.placed("base_models/encoder"), second.placed("base_models/llm")]


def _tensor_names(config: ModelConfig) -> Callable[[], Iterable[str]]:
    @cache
    def names() -> list[str]:
        from espnet_part.model.build import meta_shapes

        return list(meta_shapes(config))

    return names


def tokenizer_files(conf: LLMConf) -> dict[str, Path]:
    """The tokenizer's files; the configuration beside them tells which class reads them."""
    return {f"tokenizer/{filename}": path for filename, path in find_tokenizer(conf).items()}
