"""The parameters of the adapter `ctc_spelling` by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from espnet_part.model.adapters.ctc_spelling.conf import CTCConf
from espnet_part.model.adapters.transformer_cnn import shapes as transformer_cnn
from espnet_part.model.sizes import Shape, linear


def shapes(conf: CTCConf, encoder_dim: int, llm_dim: int) -> Mapping[str, Shape]:
    """See `espnet_part.model.kinds.AdapterShapesPart`."""
    units = len(conf.characters) + 1
    return {
        **transformer_cnn.shapes(conf, encoder_dim, llm_dim),
        **dict(linear("adapter.spelling", units, conf.dim)),
    }
