"""A Q-Former over windows of frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from espnet_part.model.adapters.qformer.conf import QFormerConf
from espnet_part.model.masking import cut_padding, valid_mask


class QFormerAdapter(nn.Module):
    """Learned queries that attend to each other and to the frames of one window; a projection.

    (As in SALMONN, Tang et al. 2024, Section 3.1.)

    Args:
        conf: its sizes. encoder_dim: width of the encoder's states. llm_dim: of the embeddings.
    """

    def __init__(self, conf: QFormerConf, encoder_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.window = conf.window
        self.norm = nn.LayerNorm(encoder_dim)
        self.queries = nn.Parameter(torch.empty(conf.queries, conf.dim))
        nn.init.normal_(self.queries, std=0.02)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=conf.dim,
                num_hidden_layers=conf.layers,
                num_attention_heads=conf.heads,
                intermediate_size=conf.ff,
                hidden_dropout_prob=conf.dropout,
                attention_probs_dropout_prob=conf.dropout,
                cross_attention_frequency=1,
                encoder_hidden_size=encoder_dim,
            )
        )
        self.projection = nn.Linear(conf.dim, llm_dim)

    def match_scale(self, std: float) -> None:
        """Let the output start with the standard deviation ``std``, that of the embeddings."""
        # the Q-Former ends in a norm: values of variance 1
        nn.init.normal_(self.projection.weight, std=std / math.sqrt(self.projection.in_features))
        nn.init.zeros_(self.projection.bias)

    def output_lengths(self, frames: Tensor) -> Tensor:
        """ceil(frames / window) * queries."""
        return -(-frames // self.window) * len(self.queries)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map encoder states to LLM embeddings.

        Args:
            x: (S, T, encoder_dim). lengths: (S,) in states.

        Returns:
            (S, T', llm_dim), zero behind each length, and lengths (S,).
        """
        x = cut_padding(x, lengths)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.window))
        valid = valid_mask(lengths, x.shape[1]).unflatten(1, (-1, self.window))
        x = x.unflatten(1, (-1, self.window))
        real = valid.any(dim=2)  # windows with a frame: the others are not computed
        out = self.qformer(
            query_embeds=self.queries.expand(int(real.sum()), -1, -1),
            encoder_hidden_states=self.norm(x[real]),
            encoder_attention_mask=valid[real].long(),
        ).last_hidden_state
        out = self.projection(out)
        all_windows = out.new_zeros(*real.shape, *out.shape[1:])
        all_windows[real] = out
        return all_windows.flatten(1, 2), self.output_lengths(lengths)


def build(conf: QFormerConf, encoder_dim: int, llm_dim: int) -> QFormerAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return QFormerAdapter(conf, encoder_dim, llm_dim)
