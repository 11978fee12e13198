"""The paper's speech adapter: a convolution that downsamples, then Transformer layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.masking import attention_mask, cut_padding, zero_padding

#: States of 4 s at 50 a second: so long a part of a clip gets a set of masks of its own.
_MASKED_STATES = 200


class TransformerCNNAdapter(nn.Module):
    """One strided convolution, positions, pre-norm Transformer layers, a projection.

    (PART, Section 2: one CNN layer and two Transformer layers, after MinMo.)

    Args:
        conf: its sizes. encoder_dim: width of the encoder's states. llm_dim: of the embeddings.
    """

    def __init__(self, conf: TransformerCNNConf, encoder_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.downsample = conf.downsample
        self.dropout = conf.dropout
        self.time_masks = conf.time_masks
        self.time_mask_width = conf.time_mask_width
        self.input_norm = nn.LayerNorm(encoder_dim) if conf.input_norm else None
        self.conv = nn.Conv1d(
            encoder_dim, conf.dim, conf.kernel, stride=conf.downsample, padding=conf.kernel // 2
        )
        self.positions = _convolution_of_positions(conf)
        # transformers' pre-norm layer: batched attention that takes a mask of the keys
        config = WhisperConfig(
            d_model=conf.dim,
            encoder_attention_heads=conf.heads,
            encoder_ffn_dim=conf.ff,
            dropout=conf.dropout,
            attention_dropout=conf.dropout,
        )
        config._attn_implementation = "sdpa"
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(conf.layers))
        self.norm = nn.LayerNorm(conf.dim)
        self.projection = nn.Linear(conf.dim, llm_dim)

    def match_scale(self, std: float) -> None:
        """Let the output start with the standard deviation ``std``, that of the embeddings."""
        # the norm hands over values of variance 1
        nn.init.normal_(self.projection.weight, std=std / math.sqrt(self.projection.in_features))
        nn.init.zeros_(self.projection.bias)

    def output_lengths(self, frames: Tensor) -> Tensor:
        """ceil(frames / downsample)."""
        return -(-frames // self.downsample)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map encoder states to LLM embeddings.

        Args:
            x: (S, T, encoder_dim). lengths: (S,) in states.

        Returns:
            (S, T', llm_dim), zero behind each length, and lengths (S,).
        """
        x, out_lengths = self.states(x, lengths)
        return zero_padding(self.projection(x), out_lengths), out_lengths

    def states(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What is projected: (S, T', conf.dim), of any value behind each length, and lengths (S,)."""
        out_lengths = self.output_lengths(lengths)
        x = cut_padding(x, lengths)
        if self.input_norm is not None:
            x = F.dropout(self.input_norm(x), self.dropout, self.training)
            x = zero_padding(x, lengths)
        if self.training and self.time_masks:
            x = x * _seen(lengths, x.shape[1], self.time_masks, self.time_mask_width)[..., None]
        x = F.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x = zero_padding(x + self._positions(x, out_lengths), out_lengths)
        x = F.dropout(x, self.dropout, self.training)
        mask = attention_mask(out_lengths, x.shape[1])
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x), out_lengths

    def _positions(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What is added to x (S, T, D) to tell where each state stands: (S, T, D) or (T, D)."""
        if self.positions is None:
            return _sinusoids(x)
        beside = self.positions(zero_padding(x, lengths).transpose(1, 2))
        return F.gelu(beside).transpose(1, 2)


def build(conf: TransformerCNNConf, encoder_dim: int, llm_dim: int) -> TransformerCNNAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return TransformerCNNAdapter(conf, encoder_dim, llm_dim)


def _seen(lengths: Tensor, longest: int, masks: int, width: int) -> Tensor:
    """(S, longest) boolean, false in random spans of each clip (see `TransformerCNNConf.time_masks`)."""
    states = torch.arange(longest, device=lengths.device)
    seen = torch.ones(len(lengths), longest, dtype=torch.bool, device=lengths.device)
    for number in range(masks * (1 + longest // _MASKED_STATES)):
        share, place = torch.rand(2, len(lengths), device=lengths.device)
        # a clip's own number of spans: those beyond it have no width
        due = number < masks * (1 + lengths // _MASKED_STATES)
        size = (share * ((lengths // 4).clamp(max=width) + 1)).long() * due
        start = (place * (lengths - size + 1)).long()
        inside = (states >= start[:, None]) & (states < (start + size)[:, None])
        seen &= ~inside
    return seen


def _convolution_of_positions(conf: TransformerCNNConf) -> nn.Conv1d | None:
    if conf.positions != "convolutional":
        return None
    width, groups = conf.position_kernel, conf.position_groups
    return nn.Conv1d(conf.dim, conf.dim, width, padding=width // 2, groups=groups)


def _sinusoids(x: Tensor) -> Tensor:
    """Positions for x (S, T, D): (T, D), sine and cosine (Vaswani et al. 2017, Section 3.5)."""
    length, dim = x.shape[1:]
    half = torch.arange((dim + 1) // 2, device=x.device, dtype=torch.float32)
    rates = torch.exp(half * (-math.log(10000.0) * 2 / dim))
    angles = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim].to(x.dtype)
