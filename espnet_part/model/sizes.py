"""Sizes of models that are known without loading them, and shapes of the layers that kinds share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_part.files import is_directory
from espnet_part.model.base import find_config
from espnet_part.parsing import read_json_object, read_yaml

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]


def read_sizes(
    name: str | None, config: dict[str, Any] | None, table: Path
) -> dict[str, Any] | None:
    """The sizes of a model in the words of its config.json, wherever it is.

    Args:
        name: a directory, or a name of the hub. config: the sizes themselves, without a ``name``.
        table: a YAML of well-known models by name of the hub.

    Returns:
        None for a name that is neither a directory nor in the table.

    Raises:
        ConfigError: a directory without a readable config.json.
    """
    if name is None:
        return config
    if is_directory(name):
        return read_json_object(find_config(name, None))
    return read_yaml(table).get(name.removesuffix("-Instruct"))


def linear(name: str, out_dim: int, in_dim: int, bias: bool = True) -> Named:
    """Of a torch.nn.Linear."""
    yield f"{name}.weight", (out_dim, in_dim)
    if bias:
        yield f"{name}.bias", (out_dim,)


def norm(name: str, dim: int) -> Named:
    """Of a LayerNorm."""
    yield f"{name}.weight", (dim,)
    yield f"{name}.bias", (dim,)


def transformer_layer(name: str, dim: int, ff: int) -> Named:
    """Of transformers' WhisperEncoderLayer."""
    yield from linear(f"{name}.self_attn.k_proj", dim, dim, bias=False)
    for projection in ("v_proj", "q_proj", "out_proj"):
        yield from linear(f"{name}.self_attn.{projection}", dim, dim)
    yield from norm(f"{name}.self_attn_layer_norm", dim)
    yield from linear(f"{name}.fc1", ff, dim)
    yield from linear(f"{name}.fc2", dim, ff)
    yield from norm(f"{name}.final_layer_norm", dim)
