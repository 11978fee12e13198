"""The forward pass of the adapter `transformer_cnn`."""

from __future__ import annotations

from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.operations import (
    AdapterOperations,
    Block,
    Elementwise,
    Linear,
    Norm,
    Part,
    transformer_layer,
)


def operations(conf: TransformerCNNConf, encoder_dim: int, llm_dim: int) -> AdapterOperations:
    """See `espnet_part.model.kinds.AdapterOperationsPart`."""
    stem = Block(
        (
            Linear(
                "adapter.conv",
                conf.kernel * encoder_dim,
                conf.dim,
                kept=conf.downsample * encoder_dim,
            ),
            Elementwise(kept=conf.dim, mask=conf.dim if conf.dropout else 0),
        )
    )
    layers = (
        transformer_layer(f"adapter.layers.{n}", conf.dim, conf.heads, conf.ff, conf.dropout)
        for n in range(conf.layers)
    )
    end = Block((Norm("adapter.norm", conf.dim), Linear("adapter.projection", conf.dim, llm_dim)))
    part = Part("adapter", conf.dim, max(conf.ff, 3 * conf.dim, llm_dim), (stem, *layers, end))
    return AdapterOperations(part, lambda frames: -(-frames // conf.downsample))
