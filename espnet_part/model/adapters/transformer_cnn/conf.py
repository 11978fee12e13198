"""The sizes of the paper's adapter."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.errors import did_you_mean
from espnet_part.model.validation import STRICT, divides, positive, share

POSITIONS = ("sinusoidal", "convolutional")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TransformerCNNConf:
    """The paper's adapter: one convolution that downsamples, then Transformer layers.

    Attributes:
        downsample: the convolution's stride; frames out = ceil(frames in / downsample).
        kernel: its width in frames; odd.
        dim, heads, ff, layers, dropout: of the Transformer layers.
        input_norm: the encoder's states are normalised first (LayerNorm), with dropout. False in the paper.
        positions: "sinusoidal" (the paper says nothing of them), or "convolutional": a grouped
            convolution over the states beside them, as in wav2vec 2.0 (Baevski et al. 2020, Section 2).
        position_kernel: width of that convolution in states; odd.
        position_groups: its groups.
        time_masks: spans of encoder states that are hidden from it in training, in each clip, and as many
            again for every 4 s of it: SpecAugment's masks of time (Park et al. 2019), which also work
            where a frozen encoder's states are kept. 0: none, as in the paper.
        time_mask_width: most states of a span; never more than a quarter of the clip.
    """

    downsample: int = 2
    kernel: int = 3
    dim: int = 1280
    heads: int = 20
    ff: int = 5120
    layers: int = 2
    dropout: float = 0.1
    input_norm: bool = False
    positions: str = "sinusoidal"
    position_kernel: int = 31
    position_groups: int = 16
    time_masks: int = 0
    time_mask_width: int = 15

    def __post_init__(self) -> None:
        positive(self, "downsample", "kernel", "dim", "heads", "ff", "layers")
        positive(self, "time_mask_width", "position_kernel", "position_groups")
        if self.positions not in POSITIONS:
            raise ValueError(did_you_mean(self.positions, POSITIONS, "positions"))
        if self.positions == "convolutional":
            divides(self.position_groups, self.dim, "position_groups", "dim")
            if self.position_kernel % 2 == 0:
                raise ValueError(f"`position_kernel` must be odd: {self.position_kernel}")
        if not 0 <= self.time_masks <= 100:
            raise ValueError(f"`time_masks` must be between 0 and 100: {self.time_masks}")
        share(self, "dropout")
        divides(self.heads, self.dim, "heads", "dim")
        if self.kernel % 2 == 0 or self.kernel < self.downsample:
            raise ValueError(
                f"`kernel` ({self.kernel}) must be odd and at least `downsample` "
                f"({self.downsample}), or frames would be skipped"
            )


Conf = TransformerCNNConf
#: See `espnet_part.model.kinds.ConfPart`.
EXACT_LENGTHS = True
