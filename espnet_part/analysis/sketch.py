"""Vectors of billions of numbers, kept as a few thousand that have nearly the same inner products."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1 << 22


class Sketch:
    """A count sketch (Charikar, Chen and Farach-Colton 2002): a random signed sum into ``size`` places.

    Inner products are kept without bias; the standard deviation of a cosine is at most
    sqrt(2 / size). Vectors are compared only with vectors of the same seed.

    Args:
        size: of the sketch. seed: of places and signs; one a vector's coordinate.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed

    def __call__(self, vector: Tensor) -> Tensor:
        """(N,) -> (size,) float32 on the same device."""
        generator = torch.Generator(vector.device).manual_seed(self.seed)
        result = torch.zeros(self.size, dtype=torch.float32, device=vector.device)
        for part in vector.float().split(_CHUNK):
            # one random number for the place and, in its lowest bit, the sign
            drawn = torch.randint(
                2 * self.size, part.shape, generator=generator, device=part.device
            )
            result.index_add_(0, drawn >> 1, part * ((drawn & 1) * 2 - 1))
        return result
