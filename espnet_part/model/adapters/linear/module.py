"""The simplest speech adapter: stacked frames and a perceptron."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from espnet_part.model.adapters.linear.conf import LinearConf
from espnet_part.model.stacking import StackingAdapter


class LinearAdapter(StackingAdapter):
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

    def embed(self, x: Tensor) -> Tensor:
        """See `espnet_part.model.stacking.StackingAdapter`."""
        return self.linear2(self.dropout(F.gelu(self.linear1(x))))


def build(conf: LinearConf, encoder_dim: int, llm_dim: int) -> LinearAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return LinearAdapter(conf, encoder_dim, llm_dim)
