"""Processes that are slower than the others, and make them wait at every step.

Under FSDP2 all processes wait for each other in the forward pass, too, which gathers the weights of block
after block. There a process is named by the time that it reads data alone: a slow GPU is not seen.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Sequence

from espnet_part.train.parallel import Parallel, node

#: More than this many times the median of all processes,
TIMES = 1.5
#: and by more than this share of the time of a step, is worth a line.
SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Spent:
    """What a process spent on its own, without waiting for others.

    Attributes:
        where: its number, and its host.
        seconds: by what was done: reading data, and running the model forward. The way back is not
            among them, for in it the processes wait for each other's gradients.
    """

    where: str
    seconds: dict[str, float]


class Stragglers:
    """Adds up what this process spends, and compares it with the others."""

    def __init__(self, parallel: Parallel) -> None:
        self._parallel = parallel
        self._where = f"process {parallel.rank} on {node()}"
        self._restart()

    def _restart(self) -> None:
        self._seconds = {"reading data": 0.0, "the forward pass": 0.0}
        self._in_all = 0.0

    def after_step(self, reading: float, forward: float, in_all: float) -> None:
        """Count the seconds of a step."""
        self._seconds["reading data"] += reading
        self._seconds["the forward pass"] += forward
        self._in_all += in_all

    def compare(self) -> None:
        """Name those that are slow; to be called on all processes after the same step."""
        if self._parallel.world > 1:
            everyone = self._parallel.gather(Spent(self._where, self._seconds))
            if self._parallel.is_main:
                for line in slow(everyone, self._in_all):
                    logging.warning("%s", line)
        self._restart()


def slow(everyone: Sequence[Spent], in_all: float) -> list[str]:
    """A line for whatever a process is much slower at than the others.

    Args:
        everyone: of the same steps.
        in_all: seconds that these steps took, waiting included.
    """
    lines = []
    for what in everyone[0].seconds:
        median = statistics.median_low(spent.seconds[what] for spent in everyone)
        worst = max(everyone, key=lambda spent: spent.seconds[what])
        seconds = worst.seconds[what]
        if seconds > TIMES * median and seconds - median > SHARE * in_all:
            lines.append(
                f"{worst.where} makes the others wait: {what} took it {seconds:.1f} s of the last "
                f"{in_all:.1f} s, and half of them at most {median:.1f} s"
            )
    return lines
