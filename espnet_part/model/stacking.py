"""What adapters of stacked frames share: lengths, padding, and the scale that the output starts with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from espnet_part.model.masking import cut_padding, zero_padding


class StackingAdapter(nn.Module):
    """Concatenates ``stack`` frames and maps each to an embedding (`embed`).

    Attributes:
        stack: frames that become one. norm: behind `embed`; None for none.
    """

    stack: int
    norm: nn.LayerNorm | None

    def match_scale(self, std: float) -> None:
        """Let the output start with the standard deviation ``std``, that of the embeddings."""
        if self.norm is not None:
            nn.init.constant_(self.norm.weight, std)
            nn.init.zeros_(self.norm.bias)

    def output_lengths(self, frames: Tensor) -> Tensor:
        """ceil(frames / stack)."""
        return -(-frames // self.stack)

    def embed(self, x: Tensor) -> Tensor:
        """(S, T', stack * encoder_dim) stacked frames to (S, T', llm_dim)."""
        raise NotImplementedError

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
        x = self.embed(x.reshape(x.shape[0], x.shape[1] // self.stack, -1))
        if self.norm is not None:
            x = self.norm(x)
        return zero_padding(x, out_lengths), out_lengths
