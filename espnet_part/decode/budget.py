"""How much is decoded at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pydantic
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class Budget:
    """How many rows are decoded at once: `batch_size`, or as many as have `batch_bins` positions.

    A row's size is what it may come to: the positions of its prompt and of its longest answer. Keys
    and values of all rows are one rectangle, so padding counts: rows have as many positions together
    as if each were as large as the largest. A row that is larger than the budget is decoded alone.

    Attributes:
        batch_size: most rows; does not count where ``batch_bins`` is given.
        batch_bins: most positions.
    """

    batch_size: int = 8
    batch_bins: int | None = None

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"`{key}` must be at least 1 (got {value})")

    @property
    def most(self) -> int:
        """Of rows, or of positions."""
        return self.batch_size if self.batch_bins is None else self.batch_bins

    def beams(self, beam_size: int) -> Budget:
        """What is left for rows where each is so many hypotheses, all with its positions."""
        if self.batch_bins is None:
            return self
        return dataclasses.replace(self, batch_bins=max(1, self.batch_bins // beam_size))

    def cost(self, sizes: Sequence[int]) -> int:
        """What rows of these sizes take of it."""
        return len(sizes) * (1 if self.batch_bins is None else max(sizes, default=0))

    def fits(self, sizes: Sequence[int]) -> bool:
        """Whether rows of these sizes are decoded at once."""
        return len(sizes) < 2 or self.cost(sizes) <= self.most

    def half_of(self, sizes: Sequence[int]) -> Budget:
        """A budget for half of what was too much: two or more rows of these sizes."""
        key = "batch_size" if self.batch_bins is None else "batch_bins"
        return dataclasses.replace(self, **{key: self.cost(sizes) // 2})
