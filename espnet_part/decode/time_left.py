"""How much is decoded and how long the rest will take: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from espnet_part.progress import clock

INTERVAL = 5.0
"""Seconds between log lines."""


class Progress:
    """Counts utterances; estimates the time left from their cost.

    Args:
        cost: of all utterances, in any unit.
        utterances: how many there are.
        name: what is being done.
        unit: what is counted; "files" are measured in seconds of audio, which are shown.
    """

    def __init__(
        self, cost: float, utterances: int, name: str = "decoding", unit: str = "utterances"
    ):
        self.cost = max(cost, 1)
        self.utterances = utterances
        self.name = name
        self.unit = unit
        self.done_cost = 0.0
        self.done = 0
        self.bar: Any = None

    def __enter__(self) -> Progress:
        self.start = self.logged = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            # the bar counts cost, which tells nobody anything; the utterances stand behind it
            layout = "{desc} {percentage:3.0f}%|{bar}|{postfix} [{elapsed}<{remaining}]"
            self.bar = tqdm(total=self.cost, desc=self.name, bar_format=layout)
        return self

    def advance(self, cost: float, utterances: int) -> None:
        """Tell that so much more is done."""
        self.done_cost += cost
        self.done += utterances
        now = time.monotonic()
        if self.bar is not None:
            self.bar.set_postfix_str(self.count(), refresh=False)
            self.bar.update(cost)
        elif now - self.logged >= INTERVAL or self.done == self.utterances:
            self.logged = now
            logging.info("%s: %s", self.name, self.line(now - self.start))

    def expect(self, cost: float) -> None:
        """Tell that there is so much more to do than was said, or less."""
        self.cost = max(self.cost + cost, 1)
        if self.bar is not None:
            self.bar.total = self.cost

    def count(self) -> str:
        """What stands behind the bar."""
        if self.unit == "files":
            return f"{clock(self.done_cost)}/{clock(self.cost)} of audio, {self._counted()}"
        return f"{self.done}/{self.utterances}"

    def _counted(self) -> str:
        return f"{self.done}/{self.utterances} {self.unit}"

    def line(self, elapsed: float) -> str:
        """The state in words."""
        left = elapsed * (self.cost - self.done_cost) / max(self.done_cost, 1e-9)
        return (
            f"{self._counted()}, {100 * self.done_cost / self.cost:.0f} % of the work, "
            f"{clock(elapsed)} so far, ETA {clock(max(left, 0.0))}"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()
