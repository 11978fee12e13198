"""The settings of the adapter `ctc_compression`."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.adapters.ctc_spelling.conf import CTCConf
from espnet_part.model.validation import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CTCCompressionConf(CTCConf):
    """A CTC by whose labels frames are averaged."""


Conf = CTCCompressionConf
#: See `espnet_part.model.kinds.ConfPart`.
OWN_LOSS = True
HEARS = True
