"""Several small adapters and a router that mixes them frame by frame."""

from __future__ import annotations

from torch import Tensor, nn

from espnet_part.model.adapters.moe.conf import MoEConf
from espnet_part.model.stacking import StackingAdapter


class MoEAdapter(StackingAdapter):
    """Concatenates ``stack`` frames; the embedding is the sum of the experts' outputs, weighted by the
    softmax of a linear router: every expert has a part in every frame, so none need be balanced.

    (As in MOSA, Li et al. 2025, arXiv:2508.18998: y = sum of w_i E_i(x), w = softmax(G(x)). Its frames
    come from a convolution, here they are stacked; the LayerNorm is that of the adapter `linear`.)

    Args:
        conf: its sizes. encoder_dim: width of the encoder's states. llm_dim: of the embeddings.
    """

    def __init__(self, conf: MoEConf, encoder_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.stack = conf.stack
        dim = conf.stack * encoder_dim
        self.router = nn.Linear(dim, conf.experts)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(dim, conf.hidden),
                nn.GELU(),
                nn.Dropout(conf.dropout),
                nn.Linear(conf.hidden, llm_dim),
            )
            for _ in range(conf.experts)
        )
        self.norm = nn.LayerNorm(llm_dim) if conf.embedding_norm else None

    def embed(self, x: Tensor) -> Tensor:
        """See `espnet_part.model.stacking.StackingAdapter`."""
        weights = self.router(x).float().softmax(dim=-1).to(x.dtype).unbind(dim=-1)
        return sum(
            (w[..., None] * expert(x) for w, expert in zip(weights, self.experts, strict=True)),
            start=x.new_zeros(()),
        )


def build(conf: MoEConf, encoder_dim: int, llm_dim: int) -> MoEAdapter:
    """See `espnet_part.model.kinds.AdapterModulePart`."""
    return MoEAdapter(conf, encoder_dim, llm_dim)
