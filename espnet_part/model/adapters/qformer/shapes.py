"""The parameters of the adapter `qformer` by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from espnet_part.model.adapters.qformer.conf import QFormerConf
from espnet_part.model.sizes import Named, Shape, linear, norm


def shapes(conf: QFormerConf, encoder_dim: int, llm_dim: int) -> Mapping[str, Shape]:
    """See `espnet_part.model.kinds.AdapterShapesPart`."""
    return dict(_parameters(conf, encoder_dim, llm_dim))


def _parameters(conf: QFormerConf, encoder_dim: int, llm_dim: int) -> Named:
    yield "adapter.queries", (conf.queries, conf.dim)
    yield from norm("adapter.norm", encoder_dim)
    yield from norm("adapter.qformer.layernorm", conf.dim)
    for number in range(conf.layers):
        layer = f"adapter.qformer.encoder.layer.{number}"
        yield from _attention(f"{layer}.attention", conf.dim, conf.dim)
        yield from _attention(f"{layer}.crossattention", conf.dim, encoder_dim)
        yield from linear(f"{layer}.intermediate_query.dense", conf.ff, conf.dim)
        yield from _output(f"{layer}.output_query", conf.dim, conf.ff)
    yield from linear("adapter.projection", llm_dim, conf.dim)


def _attention(name: str, dim: int, key_dim: int) -> Named:
    yield from linear(f"{name}.attention.query", dim, dim)
    yield from linear(f"{name}.attention.key", dim, key_dim)
    yield from linear(f"{name}.attention.value", dim, key_dim)
    yield from _output(f"{name}.output", dim, dim)


def _output(name: str, dim: int, in_dim: int) -> Named:
    yield from linear(f"{name}.dense", dim, in_dim)
    yield from norm(f"{name}.LayerNorm", dim)
