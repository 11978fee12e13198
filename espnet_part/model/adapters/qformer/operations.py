"""The forward pass of the adapter `qformer`; a position is a query of a window."""

from __future__ import annotations

from collections.abc import Iterator

from espnet_part.model.adapters.qformer.conf import QFormerConf
from espnet_part.model.operations import (
    AdapterOperations,
    Attention,
    Block,
    Elementwise,
    Linear,
    Norm,
    Operation,
    Part,
)


def operations(conf: QFormerConf, encoder_dim: int, llm_dim: int) -> AdapterOperations:
    """See `espnet_part.model.kinds.AdapterOperationsPart`."""
    frames = conf.window / conf.queries  # a query
    start = Block(
        (
            Norm("adapter.norm", encoder_dim, times=frames),
            Norm("adapter.qformer.layernorm", conf.dim),
            *_dropout(conf),
        )
    )
    layers = (
        Block(tuple(_layer(f"adapter.qformer.encoder.layer.{number}", conf, encoder_dim)))
        for number in range(conf.layers)
    )
    end = Block((Linear("adapter.projection", conf.dim, llm_dim),))
    widest = max(conf.ff, 3 * conf.dim, llm_dim, frames * max(encoder_dim, conf.dim))
    part = Part("adapter", conf.dim, round(widest), (start, *layers, end))
    return AdapterOperations(part, lambda count: -(-count // conf.window) * conf.queries)


def _layer(name: str, conf: QFormerConf, encoder_dim: int) -> Iterator[Operation]:
    frames = conf.window / conf.queries
    dim = conf.dim
    own, cross = f"{name}.attention", f"{name}.crossattention"
    yield Linear(f"{own}.attention.query", dim, dim)
    yield Linear(f"{own}.attention.key", dim, dim, shared=True)
    yield Linear(f"{own}.attention.value", dim, dim, shared=True)
    yield Attention(dim, conf.heads, span=conf.queries)
    yield from _output(f"{own}.output", dim, conf)
    yield Linear(f"{cross}.attention.query", dim, dim)
    yield Linear(f"{cross}.attention.key", encoder_dim, dim, times=frames)
    yield Linear(f"{cross}.attention.value", encoder_dim, dim, times=frames, shared=True)
    yield Attention(dim, conf.heads, span=conf.window, keys=frames)
    yield from _output(f"{cross}.output", dim, conf)
    yield Linear(f"{name}.intermediate_query.dense", dim, conf.ff)
    yield Elementwise(kept=conf.ff)
    yield from _output(f"{name}.output_query", conf.ff, conf)


def _output(name: str, inputs: int, conf: QFormerConf) -> Iterator[Operation]:
    yield Linear(f"{name}.dense", inputs, conf.dim)
    yield from _dropout(conf)
    yield Norm(f"{name}.LayerNorm", conf.dim)


def _dropout(conf: QFormerConf) -> Iterator[Operation]:
    if conf.dropout:
        yield Elementwise(mask=conf.dim)
