"""The forward pass of the adapter `ctc_spelling`."""

from __future__ import annotations

import dataclasses

from espnet_part.model.adapters.ctc_spelling.conf import CTCConf
from espnet_part.model.adapters.transformer_cnn import operations as transformer_cnn
from espnet_part.model.operations import AdapterOperations, Block, Linear


def operations(conf: CTCConf, encoder_dim: int, llm_dim: int) -> AdapterOperations:
    """See `espnet_part.model.kinds.AdapterOperationsPart`."""
    base = transformer_cnn.operations(conf, encoder_dim, llm_dim)
    head = Block((Linear("adapter.spelling", conf.dim, len(conf.characters) + 1),))
    part = dataclasses.replace(base.part, blocks=(*base.part.blocks, head))
    return dataclasses.replace(base, part=part)
