"""The forward pass of the adapter `moe`."""

from __future__ import annotations

from espnet_part.model.adapters.moe.conf import MoEConf
from espnet_part.model.operations import (
    AdapterOperations,
    Block,
    Elementwise,
    Linear,
    Norm,
    Operation,
    Part,
)


def operations(conf: MoEConf, encoder_dim: int, llm_dim: int) -> AdapterOperations:
    """See `espnet_part.model.kinds.AdapterOperationsPart`."""
    dim = conf.stack * encoder_dim
    listed: list[Operation] = [Linear("adapter.router", dim, conf.experts)]
    for number in range(conf.experts):
        name = f"adapter.experts.{number}"
        listed += [
            Linear(f"{name}.0", dim, conf.hidden, shared=True),
            Elementwise(kept=conf.hidden, mask=conf.hidden if conf.dropout else 0),
            Linear(f"{name}.3", conf.hidden, llm_dim),
            Elementwise(kept=llm_dim),  # for the gradient of its weight in the sum
        ]
    if conf.embedding_norm:
        listed.append(Norm("adapter.norm", llm_dim))
    part = Part("adapter", llm_dim, max(conf.hidden, dim, llm_dim), (Block(tuple(listed)),))
    return AdapterOperations(part, lambda frames: -(-frames // conf.stack))
