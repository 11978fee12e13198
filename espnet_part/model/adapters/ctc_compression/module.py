"""An adapter that averages the frames in which a CTC hears the same, and drops those in which it hears
nothing (Gaido et al. 2021, "CTC-based Compression for Direct Speech Translation", EACL).

There compression stands between two layers of a translation encoder, and blanks are averaged like other
labels; here it stands behind the adapter's layers. The LLM reads about a vector a character instead
of a number of them a second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espnet_part.model.adapters.ctc_compression.conf import CTCCompressionConf
from espnet_part.model.adapters.ctc_spelling.module import BLANK, CTCAdapter
from espnet_part.model.masking import valid_mask, zero_padding


class CTCCompressionAdapter(CTCAdapter):
    """See the module. `output_lengths` gives the most that it can be: one of each of its frames."""

    def _embed(self, states: Tensor, frames: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        means, lengths = compress(states, frames, log_probs.argmax(dim=-1))
        return zero_padding(self.projection(means), lengths), lengths


def compress(states: Tensor, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Average runs of frames of one label; those of the blank are dropped.

    Args:
        states: (S, T, D). frames: (S,) of each clip. labels: (S, T).

    Returns:
        (S, T', D) means, and how many a clip has (S,). Of a clip of blanks alone the one mean of all
        its frames is left.
    """
    valid = valid_mask(frames, labels.shape[1])
    heard = valid & (labels != BLANK)
    heard = torch.where(heard.any(dim=1, keepdim=True), heard, valid)
    changed = torch.ones_like(heard)
    changed[:, 1:] = (labels[:, 1:] != labels[:, :-1]) | ~heard[:, :-1]
    run = (heard & changed).cumsum(dim=1) - 1
    lengths = run[:, -1] + 1
    places = torch.arange(int(lengths.max()), device=states.device)[:, None]
    share = ((run[:, None] == places) & heard[:, None]).to(states.dtype)
    share = share / share.sum(dim=-1, keepdim=True).clamp(min=1.0)
    # what is behind a clip counts nothing, whatever it is
    return share @ states.masked_fill(~valid[..., None], 0.0), lengths


def build(conf: CTCCompressionConf, encoder_dim: int, llm_dim: int) -> CTCCompressionAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return CTCCompressionAdapter(conf, encoder_dim, llm_dim)
