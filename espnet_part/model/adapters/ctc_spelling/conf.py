"""The settings of the adapter `ctc_spelling`."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.adapters.transformer_cnn.conf import TransformerCNNConf
from espnet_part.model.validation import STRICT, share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CTCConf(TransformerCNNConf):
    """The layers of the paper's adapter, with a CTC over characters. Not of the paper.

    Attributes:
        characters: what is spelled, each character once, in lower case and Unicode's composed form
            (NFC), the space among them. Of a transcript's other characters, signs become spaces and
            letters are left out.
        ctc_weight: of the CTC loss (nats, summed over a clip) beside the loss of the answer.
    """

    characters: str
    ctc_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.characters)) < len(self.characters) or " " not in self.characters:
            raise ValueError("`characters` must name each character once, and the space")
        if self.characters != self.characters.lower():
            raise ValueError("`characters` must be lower case")
        if not 0 < self.ctc_weight < float("inf"):
            raise ValueError(f"`ctc_weight` must be positive: {self.ctc_weight}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CTCSpellingConf(CTCConf):
    """A CTC whose spelling the LLM reads.

    Attributes:
        noise: share of the spelled characters that are dropped, doubled or misheard (the CTC's next
            choice) before the LLM reads them, in phases that train the adapter. What has been heard
            often is spelled better than what is heard for the first time, and the LLM shall learn to
            read the latter.
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        share(self, "noise")


Conf = CTCSpellingConf
#: See `espnet_part.model.kinds.ConfPart`.
OWN_LOSS = True
HEARS = True
