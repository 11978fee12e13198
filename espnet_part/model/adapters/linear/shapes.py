"""The parameters of the adapter `linear` by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from espnet_part.model.adapters.linear.conf import LinearConf
from espnet_part.model.sizes import Named, Shape, linear, norm


def shapes(conf: LinearConf, encoder_dim: int, llm_dim: int) -> Mapping[str, Shape]:
    """See `espnet_part.model.kinds.AdapterShapesPart`."""
    return dict(_parameters(conf, encoder_dim, llm_dim))


def _parameters(conf: LinearConf, encoder_dim: int, llm_dim: int) -> Named:
    yield from linear("adapter.linear1", conf.hidden, conf.stack * encoder_dim)
    yield from linear("adapter.linear2", llm_dim, conf.hidden)
    if conf.embedding_norm:
        yield from norm("adapter.norm", llm_dim)
