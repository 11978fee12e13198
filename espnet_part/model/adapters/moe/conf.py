"""The sizes of the mixture of adapters."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.validation import STRICT, positive, share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MoEConf:
    """Frame stacking and several two-layer perceptrons, mixed by a router.

    Attributes:
        stack: frames concatenated into one; frames out = ceil(frames in / stack).
        experts: how many perceptrons. hidden: width of each.
        dropout: after their activation.
        embedding_norm: end with a LayerNorm that starts at the scale of the LLM's embeddings.
    """

    stack: int = 4
    experts: int = 4
    hidden: int = 1024
    dropout: float = 0.0
    embedding_norm: bool = True

    def __post_init__(self) -> None:
        positive(self, "stack", "experts", "hidden")
        share(self, "dropout")


Conf = MoEConf
#: See `espnet_part.model.kinds.ConfPart`.
EXACT_LENGTHS = True
