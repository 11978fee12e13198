"""Steps that are out of the ordinary: not finite, or a spike of the loss or of the gradient's norm."""

from __future__ import annotations

import collections
import math
import statistics

#: As OLMo-core's SkipStepOptimizer does (https://github.com/allenai/OLMo-core): as many steps are ordinary.
WINDOW = 128
#: Fewer say too little of what is ordinary.
ENOUGH = 32


class Outliers:
    """Judges each step by the ordinary ones before it in its phase.

    A step that is judged to be no ordinary one is to leave the weights alone, and says nothing of those
    after it. On every process it must be given the same numbers, and says the same.

    Args:
        deviations: so many standard deviations above the mean of the last `WINDOW` ordinary steps is a
            spike; None judges by finiteness alone.
    """

    def __init__(self, deviations: float | None) -> None:
        self._deviations = deviations
        self._ordinary: collections.deque[tuple[float, float]] = collections.deque(maxlen=WINDOW)

    def fault(self, loss: float, grad_norm: float) -> str | None:
        """What is wrong with a step; None for an ordinary one, which is remembered.

        Args:
            loss: nats a token. grad_norm: before clipping.
        """
        numbers = {"loss": loss, "gradient's norm": grad_norm}
        for name, value in numbers.items():
            if not math.isfinite(value):
                return f"the {name} is not finite"
        if self._deviations is None:
            return None
        if len(self._ordinary) >= ENOUGH:
            for values, (name, value) in zip(
                zip(*self._ordinary, strict=True), numbers.items(), strict=True
            ):
                mean, deviation = statistics.fmean(values), statistics.pstdev(values)
                if value > mean + self._deviations * deviation:
                    return (
                        f"the {name}, {value:.4g}, is a spike: it was {mean:.4g} ± {deviation:.2g}"
                    )
        self._ordinary.append((loss, grad_norm))
        return None

    def forget(self) -> None:
        """Begin anew: another phase has other losses."""
        self._ordinary.clear()

    def state_dict(self) -> list[list[float]]:
        """JSON values."""
        return [list(pair) for pair in self._ordinary]

    def load_state_dict(self, state: list[list[float]]) -> None:
        self._ordinary.clear()
        self._ordinary.extend((loss, norm) for loss, norm in state)
