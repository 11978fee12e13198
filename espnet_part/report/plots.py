"""Learning curves with phase borders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from espnet_part.report.figure import COLOURS, drawing, new_figure, save
from espnet_part.report.history import Interval

_PHASE_SHADES = ("#FFFFFF", "#F2F2F2")


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
        for split, colour, style in (("train", COLOURS[0], "-"), ("valid", COLOURS[5], "--")):
            points = [
                (interval.step, getattr(interval, split)[key])
                for interval in intervals
                if math.isfinite(getattr(interval, split).get(key, math.nan))
            ]
            if points:
                steps, values = zip(*points, strict=True)
                marker = "o" if len(points) < 40 else None
                axis.plot(
                    steps, values, style, color=colour, marker=marker, markersize=3.5, label=split
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


def _mark_phases(axes: Sequence[Any], intervals: Sequence[Interval], last: int) -> None:
    chained = len({interval.training for interval in intervals}) > 1
    bands = []
    start = 0
    for (training, phase), members in groupby(intervals, lambda x: (x.training, x.phase)):
        end = max(interval.step for interval in members)
        bands.append((start, end, f"{training}:\n{phase}" if chained else phase))
        start = end
    # names are turned where one is wider than its band; some 115 characters fit over the axis
    turned = any(
        115 * (end - begin) / max(last, 1) < max(len(line) for line in name.split("\n"))
        for begin, end, name in bands
    )
    for number, (begin, end, name) in enumerate(bands):
        for axis in axes:
            axis.axvspan(begin, end, color=_PHASE_SHADES[number % 2], zorder=0)
            if end < last:
                axis.axvline(end, color="#555555", linewidth=0.9, linestyle=":")
        axes[0].annotate(
            name.replace("\n", " ") if turned else name,
            xy=((begin + end) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="left" if turned else "center",
            va="bottom",
            rotation=30 if turned else 0,
            fontsize=8,
        )
