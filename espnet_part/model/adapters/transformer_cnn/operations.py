"""The forward pass of the adapter `transformer_cnn`."""

from __future__ import annotations

from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.operations import (
    AdapterOperations,
    Block,
    Elementwise,
    Linear,
    Norm,
    Operation,
    Part,
    transformer_layer,
)


def operations(conf: TransformerCNNConf, encoder_dim: int, llm_dim: int) -> AdapterOperations:
    """See `espnet_part.model.kinds.AdapterOperationsPart`."""
    states, mask = conf.downsample * encoder_dim, conf.dim if conf.dropout else 0
    stem: list[Operation] = []
    if conf.input_norm:
        stem += [Norm("adapter.input_norm", encoder_dim, times=conf.downsample)]
        stem += [Elementwise(mask=states if conf.dropout else 0)]
    stem += [
        Linear("adapter.conv", conf.kernel * encoder_dim, conf.dim, kept=states),
        Elementwise(kept=conf.dim, mask=mask),
    ]
    if conf.positions == "convolutional":
        channels = conf.position_kernel * conf.dim // conf.position_groups
        stem += [Linear("adapter.positions", channels, conf.dim, kept=conf.dim)]
        stem += [Elementwise(kept=conf.dim)]
    layers = (
        transformer_layer(f"adapter.layers.{n}", conf.dim, conf.heads, conf.ff, conf.dropout)
        for n in range(conf.layers)
    )
    end = Block((Norm("adapter.norm", conf.dim), Linear("adapter.projection", conf.dim, llm_dim)))
    part = Part(
        "adapter", conf.dim, max(conf.ff, 3 * conf.dim, llm_dim), (Block(tuple(stem)), *layers, end)
    )
    return AdapterOperations(part, lambda frames: -(-frames // conf.downsample))
