"""The sizes of the window-level Q-Former."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.validation import STRICT, divides, positive, share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class QFormerConf:
    """A Q-Former that reads each window of frames with the same learned queries.

    Attributes:
        window: frames of a window. queries: embeddings that each window becomes;
            embeddings out = ceil(frames / window) * queries.
        dim, heads, ff, layers, dropout: of its Transformer layers.
    """

    window: int = 17
    queries: int = 1
    dim: int = 768
    heads: int = 12
    ff: int = 3072
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        positive(self, "window", "queries", "dim", "heads", "ff", "layers")
        share(self, "dropout")
        divides(self.heads, self.dim, "heads", "dim")


Conf = QFormerConf
#: See `espnet_part.model.kinds.ConfPart`.
EXACT_LENGTHS = True
