"""The sizes of frame stacking and its perceptron."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.validation import STRICT, positive, share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LinearConf:
    """Frame stacking and a two-layer perceptron.

    Attributes:
        stack: frames concatenated into one; frames out = ceil(frames in / stack).
        hidden: width of the perceptron.
        dropout: after its activation.
        embedding_norm: end with a LayerNorm that starts at the scale of the LLM's embeddings.
    """

    stack: int = 2
    hidden: int = 2048
    dropout: float = 0.0
    embedding_norm: bool = True

    def __post_init__(self) -> None:
        positive(self, "stack", "hidden")
        share(self, "dropout")


Conf = LinearConf
#: See `espnet_part.model.kinds.ConfPart`.
EXACT_LENGTHS = True
