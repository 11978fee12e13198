"""Learning curves with phase borders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from espnet_part.report.figure import COLOURS, drawing, name_phases, new_figure, save
from espnet_part.report.history import Interval

_PHASE_SHADES = ("#FFFFFF", "#F2F2F2")
_LINES = (
    ("train", False, COLOURS[0], "-"),
    ("train", True, COLOURS[2], "-."),
    ("valid", False, COLOURS[5], "--"),
)
"""Split, whether it is of phases that do not run the LLM, colour, style."""
_CHARACTERS = 115
"""Of names that fit over the axis."""


def plot_learning_curves(intervals: Sequence[Interval], path: Path, title: str) -> None:
    """Write `learning_curves` as PNG."""
    save(learning_curves(intervals, title), path)


@drawing
def learning_curves(intervals: Sequence[Interval], title: str = "") -> Any:
    """Draw loss and token accuracy of training and validation over optimizer steps.

    Each phase is a band with its name above and a border at its end; the axes start at step 0.
    Where more than one training is chained, a phase is named "training: phase".

    Raises:
        ValueError: no interval at all.
    """
    if not intervals:
        raise ValueError("no training history to draw")
    figure, axes = new_figure(2, 1, figsize=(9, 6.4), sharex=True)
    for axis, key, label in zip(
        axes, ("loss", "acc"), ("loss per target token", "token accuracy"), strict=True
    ):
        for split, own, colour, style in _LINES:
            points = [
                (interval.step, _value(interval, split, own, key))
                for interval in intervals
                if math.isfinite(getattr(interval, split).get(key, math.nan)) or interval.of_adapter
            ]
            if any(math.isfinite(value) for _, value in points):
                steps, values = zip(*points, strict=True)
                axis.plot(
                    steps,
                    values,
                    style,
                    color=colour,
                    marker="o" if len(points) < 40 else None,
                    markersize=3.5,
                    label=f"{split}, the adapter's own" if own else split,
                )
        axis.set_ylabel(label)
        axis.grid(True, axis="y", color="#D9D9D9", linewidth=0.6)
        axis.set_axisbelow(True)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="best", framealpha=0.9)
    axes[1].set_xlabel("optimizer steps")
    last = max(interval.step for interval in intervals)
    axes[0].set_xlim(0, max(last, 1) * 1.01)
    _mark_phases(axes, intervals, last)
    if title:
        figure.suptitle(title)
    return figure


def _value(interval: Interval, split: str, own: bool, key: str) -> float:
    """NaN, where a line breaks, for a training loss of the other kind."""
    if split == "train" and interval.of_adapter != own:
        return math.nan
    return getattr(interval, split).get(key, math.nan)


def _mark_phases(axes: Sequence[Any], intervals: Sequence[Interval], last: int) -> None:
    phases = []
    start = 0
    for (training, phase), members in groupby(intervals, lambda x: (x.training, x.phase)):
        end = max(interval.step for interval in members)
        phases.append((training, phase, start, end))
        start = end
    for number, (_, _, begin, end) in enumerate(phases):
        for axis in axes:
            axis.axvspan(begin, end, color=_PHASE_SHADES[number % 2], zorder=0)
            if end < last:
                axis.axvline(end, color="#555555", linewidth=0.9, linestyle=":")
    name_phases(axes[0], phases, last, _CHARACTERS)
