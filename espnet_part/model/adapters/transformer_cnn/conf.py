"""The sizes of the paper's adapter."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.validation import STRICT, divides, positive, share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TransformerCNNConf:
    """The paper's adapter: one convolution that downsamples, then Transformer layers.

    Attributes:
        downsample: the convolution's stride; frames out = ceil(frames in / downsample).
        kernel: its width in frames; odd.
        dim, heads, ff, layers, dropout: of the Transformer layers.
    """

    downsample: int = 2
    kernel: int = 3
    dim: int = 1280
    heads: int = 20
    ff: int = 5120
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        positive(self, "downsample", "kernel", "dim", "heads", "ff", "layers")
        share(self, "dropout")
        divides(self.heads, self.dim, "heads", "dim")
        if self.kernel % 2 == 0 or self.kernel < self.downsample:
            raise ValueError(
                f"`kernel` ({self.kernel}) must be odd and at least `downsample` "
                f"({self.downsample}), or frames would be skipped"
            )


Conf = TransformerCNNConf
