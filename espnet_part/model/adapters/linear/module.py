"""The simplest speech adapter: stacked frames and a perceptron."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from espnet_part.model.adapters.linear.conf import LinearConf
from espnet_part.model.masking import cut_padding, zero_padding


class LinearAdapter(nn.Module):
    """Concatenates ``stack`` frames and maps them with a two-layer perceptron.

    (As in SLAM-ASR, Ma et al. 2024, Section 3.1.) The final LayerNorm starts at the scale of the
    LLM's embeddings, without which a small LLM learns slowly.

    Args:
        conf: its sizes. encoder_dim: width of the encoder's states. llm_dim: of the embeddings.
    """

    def __init__(self, conf: LinearConf, encoder_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.stack = conf.stack
        self.linear1 = nn.Linear(conf.stack * encoder_dim, conf.hidden)
        self.dropout = nn.Dropout(conf.dropout)
        self.linear2 = nn.Linear(conf.hidden, llm_dim)
        self.norm = nn.LayerNorm(llm_dim) if conf.embedding_norm else None

    def match_scale(self, std: float) -> None:
        """Let the output start with the standard deviation ``std``, that of the embeddings."""
        if self.norm is not None:
            nn.init.constant_(self.norm.weight, std)
            nn.init.zeros_(self.norm.bias)

    def output_lengths(self, frames: Tensor) -> Tensor:
        """ceil(frames / stack)."""
        return -(-frames // self.stack)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map encoder states to LLM embeddings.

        Args:
            x: (S, T, encoder_dim). lengths: (S,) in states.

        Returns:
            (S, T', llm_dim), zero behind each length, and lengths (S,).
        """
        out_lengths = self.output_lengths(lengths)
        x = cut_padding(x, lengths)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.stack))
        x = x.reshape(x.shape[0], x.shape[1] // self.stack, -1)
        x = self.linear2(self.dropout(F.gelu(self.linear1(x))))
        if self.norm is not None:
            x = self.norm(x)
        return zero_padding(x, out_lengths), out_lengths


def build(conf: LinearConf, encoder_dim: int, llm_dim: int) -> LinearAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return LinearAdapter(conf, encoder_dim, llm_dim)
