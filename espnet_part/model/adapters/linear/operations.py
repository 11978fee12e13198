"""The forward pass of the adapter `linear`."""

from __future__ import annotations

from espnet_part.model.adapters.linear.conf import LinearConf
from espnet_part.model.operations import (
    AdapterOperations,
    Block,
    Elementwise,
    Linear,
    Norm,
    Operation,
    Part,
)


def operations(conf: LinearConf, encoder_dim: int, llm_dim: int) -> AdapterOperations:
    """See `espnet_part.model.kinds.AdapterOperationsPart`."""
    listed: list[Operation] = [
        Linear("adapter.linear1", conf.stack * encoder_dim, conf.hidden),
        Elementwise(kept=conf.hidden, mask=conf.hidden if conf.dropout else 0),
        Linear("adapter.linear2", conf.hidden, llm_dim),
    ]
    if conf.embedding_norm:
        listed.append(Norm("adapter.norm", llm_dim))
    widest = max(conf.hidden, conf.stack * encoder_dim, llm_dim)
    part = Part("adapter", llm_dim, widest, (Block(tuple(listed)),))
    return AdapterOperations(part, lambda frames: -(-frames // conf.stack))
