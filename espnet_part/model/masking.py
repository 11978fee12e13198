"""Masks of padded batches."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_mask(lengths: Tensor, longest: int) -> Tensor:
    """(S, longest) boolean, true before each of the (S,) lengths."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def zero_padding(x: Tensor, lengths: Tensor, dim: int = 1) -> Tensor:
    """Set the three-dimensional x to zero behind ``lengths`` along ``dim`` (1 or 2)."""
    valid = valid_mask(lengths, x.shape[dim]).unsqueeze(3 - dim)
    return x.masked_fill(~valid, 0.0)


def cut_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """(S, T, D) to (S, longest, D), zero behind each of the (S,) lengths, whatever x has there."""
    return zero_padding(x[:, : int(lengths.max())], lengths)


def attention_mask(lengths: Tensor, longest: int) -> Tensor | None:
    """(S, 1, T, T) boolean, true at real keys; None when nothing is padded (a faster kernel)."""
    if bool((lengths == longest).all()):
        return None
    return valid_mask(lengths, longest)[:, None, None, :].expand(-1, 1, longest, -1)
