"""Encoders that are two files of another toolkit, a configuration and a checkpoint: read, and packed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_part.config import dump_yaml
from espnet_part.errors import ConfigError


def read_tensors(path: Path) -> dict[str, Any]:
    """What a checkpoint of torch holds, or a file of safetensors.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors.
    """
    import safetensors.torch
    import torch

    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:
        # torch's own message advises a way of loading that may run code
        raise ConfigError(f"{path}: is damaged, or holds more than tensors") from None


def check_packable(train_config: str, model_file: str | None, what: str, inside: bool) -> Path:
    """The file of the weights, which are to go into an archive.

    Args:
        what: the encoder is, for the message. inside: whether base models go into the archive.

    Raises:
        ConfigError: they stay outside, or are in no file.
    """
    if not inside:
        raise ConfigError(
            f"the encoder {train_config} is {what} of this machine: elsewhere the archive would not "
            "load. Put it inside with --with_base_models true"
        )
    if model_file is None:
        raise ConfigError(
            f"the encoder {train_config} has no model_file: its random weights are in no file"
        )
    return Path(model_file)


def own_tensors(encoder: Any) -> dict[str, Any]:
    """An encoder's state without its blocks' second name: `layers.` is this package's for them."""
    return {
        name: tensor.detach().cpu()
        for name, tensor in encoder.state_dict().items()
        if not name.startswith("layers.")
    }


def write_files(values: Any, state: Mapping[str, Any], room: Path) -> tuple[Path, Path]:
    """Write an encoder's configuration and weights; their paths."""
    import safetensors.torch

    config, weights = room / "config.yaml", room / "model.safetensors"
    config.write_text(dump_yaml(values), encoding="utf-8")
    # safetensors takes neither views nor tensors that share their memory
    whole = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    safetensors.torch.save_file(whole, weights)
    return config, weights
