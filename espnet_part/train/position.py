"""Where a run stands in its schedule and in its data: plain numbers, kept in every checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

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
        data_epoch: Passes over the data begun in this stage, before the current one.
        data_step: Steps done in the current pass.
        first_data_epoch: `data_epoch` at the start of the phase.
        nonfinite: Skipped steps in a row.
        skipped: Skipped steps in all.
        examples: Utterances read so far, good or bad.
        bad: Bad ones among them.
        seconds: Time spent in training so far.
    """

    phase: int = 0
    step: int = 0
    total_step: int = 0
    epoch: int = 0
    data_epoch: int = 0
    data_step: int = 0
    first_data_epoch: int = 0
    nonfinite: int = 0
    skipped: int = 0
    examples: int = 0
    bad: int = 0
    seconds: float = 0.0

    def next_phase(self) -> None:
        """Go to the start of the next phase, which begins a new pass over its own mixture."""
        self.phase += 1
        self.step = 0
        self.data_epoch += 1
        self.data_step = 0
        self.first_data_epoch = self.data_epoch

    def after_step(self, data_epoch: int, data_step: int) -> None:
        """Count one step, which was the ``data_step``-th (from 0) of the pass ``data_epoch``."""
        self.step += 1
        self.total_step += 1
        self.data_epoch = data_epoch
        self.data_step = data_step + 1


def check_same_schedule(saved: list[dict[str, Any]], schedule: Schedule, phase: int) -> None:
    """Refuse to resume under phases other than those already run.

    The current phase may change its length, and later phases may change altogether.

    Raises:
        DataError: a phase that has run was changed.
    """

    def fixed(index: int, values: dict[str, Any]) -> dict[str, Any]:
        lengths = ("steps", "epochs") if index == phase else ()
        return {key: value for key, value in values.items() if key not in lengths}

    now = schedule.to_list()
    for index, before in enumerate(saved[: phase + 1]):
        if index >= len(now) or fixed(index, before) != fixed(index, now[index]):
            raise DataError(
                f"{schedule.where}: phase {before['name']} has changed since the checkpoint was "
                "written; undo the change, or train into another --output_dir"
            )
