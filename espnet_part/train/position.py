"""Where a run stands in its schedule and in its data: plain numbers, kept in every checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

from espnet_part.data.dataset import DataPosition
from espnet_part.errors import DataError
from espnet_part.schedule.schedule import Schedule


@dataclasses.dataclass
class Position:
    """A point between two optimizer steps.

    Attributes:
        phase: Index of the phase in the schedule.
        step: Steps done in this phase.
        total_step: Steps done in this stage.
        epoch: Validation intervals finished (ESPnet's reporter calls them epochs).
        data: The point in the phase's data.
        lengths: Steps of the phases that have begun.
        nonfinite: Skipped steps in a row.
        rewinds: How often it went back to a checkpoint, and on with other data.
        skipped: Skipped steps in all.
        examples: Utterances read so far, good or bad.
        bad: Bad ones among them.
        seconds: Time spent in training so far.
    """

    phase: int = 0
    step: int = 0
    total_step: int = 0
    epoch: int = 0
    data: DataPosition = dataclasses.field(default_factory=DataPosition)
    lengths: list[int] = dataclasses.field(default_factory=list)
    nonfinite: int = 0
    rewinds: int = 0
    skipped: int = 0
    examples: int = 0
    bad: int = 0
    seconds: float = 0.0

    @classmethod
    def from_json(cls, values: dict[str, Any], where: str) -> Position:
        """Read what ``dataclasses.asdict`` gave.

        Raises:
            DataError: a checkpoint of another version of this package.
        """
        try:
            return cls(**{**values, "data": DataPosition(**values["data"])})
        except (KeyError, TypeError):
            raise DataError(
                f"{where}: was written by another version of this package; finish the training with "
                "that one, or choose another --output_dir"
            ) from None

    def next_phase(self, pool: int) -> None:
        """Go to the start of the next phase, whose data begin with the pool number ``pool``."""
        self.phase += 1
        self.step = 0
        self.data = DataPosition(pool)

    def after_step(self, data: DataPosition) -> None:
        """Count one step, after which the data are at ``data``."""
        self.step += 1
        self.total_step += 1
        self.data = data


def check_same_schedule(saved: list[dict[str, Any]], schedule: Schedule, phase: int) -> None:
    """Refuse to resume under phases other than those already run.

    The current phase may change its length unless it has `max_epochs`, and later phases may change
    altogether.

    Raises:
        DataError: a phase that has run was changed.
        ConfigError: the checkpoint's phases are none.
    """

    def fixed(index: int, values: dict[str, Any]) -> dict[str, Any]:
        # a cap on epochs makes shares depend on the length, and with them what has been drawn by now
        may_change = index == phase and values["max_epochs"] is None
        lengths = ("steps", "epochs") if may_change else ()
        return {key: value for key, value in values.items() if key not in lengths}

    now = schedule.to_list()
    # an earlier version's phases lack the keys that came later, which had their defaults then
    saved = Schedule.from_list(saved, "the checkpoint").to_list()
    for index, before in enumerate(saved[: phase + 1]):
        if index >= len(now) or fixed(index, before) != fixed(index, now[index]):
            raise DataError(
                f"{schedule.where}: phase {before['name']} has changed since the checkpoint was "
                "written; undo the change, or train into another --output_dir"
            )
