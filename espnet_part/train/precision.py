"""Weights that train are held in float32: bfloat16 swallows small updates."""

from __future__ import annotations

import logging
from collections.abc import Collection

import torch
from torch import nn

from espnet_part.errors import ConfigError


def hold_in_float32(module: nn.Module, names: Collection[str], prefix: str = "") -> None:
    """Make the parameters ``names`` float32, those of them that lie in a module.

    Args:
        prefix: what the module's own names have before them in ``names``.
    """
    for name, parameter in module.named_parameters(prefix):
        if name in names:
            parameter.data = parameter.data.float()


def masters(model: nn.Module, names: Collection[str], amp: bool) -> set[str]:
    """Those of the parameters ``names`` that are to be held in float32 (autocast computes in bfloat16).

    At a learning rate of 1e-5 most updates are smaller than half a step of bfloat16 (8 bits), so
    that the weights would stay where they are.

    Args:
        amp: whether the training uses autocast, without which layers cannot mix dtypes.

    Returns:
        The names of what is in a shorter type now.

    Raises:
        ConfigError: there are such parameters, and no autocast.
    """
    chosen = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name in names and parameter.dtype in (torch.bfloat16, torch.float16)
    }
    if chosen and not amp:
        dtype = next(iter(chosen.values())).dtype
        raise ConfigError(
            f"use_amp: {len(chosen)} tensors that train are in {str(dtype)[6:]}, in which "
            "small updates are lost; use --use_amp true (they are then held in float32), or "
            "`llm_conf.dtype: float32`"
        )
    if chosen:
        size = sum(parameter.numel() for parameter in chosen.values()) / 1e6
        logging.info(
            "%d tensors (%.1f million values) that train are held in float32", len(chosen), size
        )
    return set(chosen)
