"""The parameters of the adapter `transformer_cnn` by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.sizes import Named, Shape, linear, norm, transformer_layer


def shapes(conf: TransformerCNNConf, encoder_dim: int, llm_dim: int) -> Mapping[str, Shape]:
    """See `espnet_part.model.kinds.AdapterShapesPart`."""
    return dict(_parameters(conf, encoder_dim, llm_dim))


def _parameters(conf: TransformerCNNConf, encoder_dim: int, llm_dim: int) -> Named:
    if conf.input_norm:
        yield from norm("adapter.input_norm", encoder_dim)
    yield "adapter.conv.weight", (conf.dim, encoder_dim, conf.kernel)
    yield "adapter.conv.bias", (conf.dim,)
    if conf.positions == "convolutional":
        channels = conf.dim // conf.position_groups
        yield "adapter.positions.weight", (conf.dim, channels, conf.position_kernel)
        yield "adapter.positions.bias", (conf.dim,)
    for layer in range(conf.layers):
        yield from transformer_layer(f"adapter.layers.{layer}", conf.dim, conf.ff)
    yield from norm("adapter.norm", conf.dim)
    yield from linear("adapter.projection", llm_dim, conf.dim)
