"""Weights that train are held in float32: bfloat16 swallows small updates."""

from __future__ import annotations

import logging
from collections.abc import Collection

import torch
from torch import nn

from espnet_part.errors import ConfigError


def hold_in_float32(model: nn.Module, names: Collection[str], amp: bool) -> None:
    """Hold the parameters ``names`` in float32, and let autocast compute with them in bfloat16.

    At a learning rate of 1e-5 most updates are smaller than half a step of bfloat16 (8 bits), so
    that the weights would stay where they are.

    Args:
        amp: whether the training uses autocast, without which layers cannot mix dtypes.

    Raises:
        ConfigError: there are such parameters, and no autocast.
    """
    chosen = [
        parameter
        for name, parameter in model.named_parameters()
        if name in names and parameter.dtype in (torch.bfloat16, torch.float16)
    ]
    if not chosen:
        return
    if not amp:
        raise ConfigError(
            f"use_amp: {len(chosen)} tensors that train are in {str(chosen[0].dtype)[6:]}, in which "
            "small updates are lost; use --use_amp true (they are then held in float32), or "
            "`llm_conf.dtype: float32`"
        )
    for parameter in chosen:
        parameter.data = parameter.data.float()
    size = sum(parameter.numel() for parameter in chosen)
    logging.info(
        "%d tensors (%.1f million values) that train are held in float32", len(chosen), size / 1e6
    )
