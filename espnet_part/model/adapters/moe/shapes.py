"""The parameters of the adapter `moe` by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from espnet_part.model.adapters.moe.conf import MoEConf
from espnet_part.model.sizes import Named, Shape, linear, norm


def shapes(conf: MoEConf, encoder_dim: int, llm_dim: int) -> Mapping[str, Shape]:
    """See `espnet_part.model.kinds.AdapterShapesPart`."""
    return dict(_parameters(conf, encoder_dim, llm_dim))


def _parameters(conf: MoEConf, encoder_dim: int, llm_dim: int) -> Named:
    dim = conf.stack * encoder_dim
    yield from linear("adapter.router", conf.experts, dim)
    for number in range(conf.experts):
        yield from linear(f"adapter.experts.{number}.0", conf.hidden, dim)
        yield from linear(f"adapter.experts.{number}.3", llm_dim, conf.hidden)
    if conf.embedding_norm:
        yield from norm("adapter.norm", llm_dim)
