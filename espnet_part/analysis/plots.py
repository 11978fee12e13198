"""Charts as PNG: learning curves with phase borders, and scores by language and system.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; line styles and hatches
say the same thing again for print in grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from espnet_part.analysis.history import Interval
from espnet_part.files import atomic_write

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++", "--")
_PHASE_SHADES = ("#FFFFFF", "#F2F2F2")


def plot_learning_curves(intervals: Sequence[Interval], path: Path, title: str) -> None:
    """Draw loss and token accuracy of training and validation over optimizer steps.

    Each phase is a band with its name above and a border at its end; the axes start at step 0.
    Where more than one training is chained, a phase is named "training: phase".

    Raises:
        ValueError: no interval at all.
    """
    if not intervals:
        raise ValueError("no training history to draw")
    figure, axes = _figure(2, 1, figsize=(9, 6.4), sharex=True)
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
    figure.suptitle(title)
    _save(figure, path)


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


def plot_bars(
    systems: Mapping[str, Mapping[str, float | None]],
    path: Path,
    title: str,
    ylabel: str,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Draw bars by language or direction, grouped, one colour a system, with an average.

    Args:
        systems: {system: {language: value}}; a value may be missing.
        labels: what to write under a language instead of its key, such as "zh (CER)".

    The average of a system is drawn over the languages that all systems have.

    Raises:
        ValueError: nothing to draw.
    """
    keys = list(dict.fromkeys(key for values in systems.values() for key in values))
    if not keys:
        raise ValueError("no score to draw")
    common = [
        key for key in keys if all(values.get(key) is not None for values in systems.values())
    ]
    with_average = len(common) > 1
    groups = len(keys) + with_average
    bars = groups * len(systems)
    figure, axis = _figure(
        1, 1, figsize=(min(max(6.5, 1.6 + 0.42 * bars + 0.35 * groups), 18), 4.6)
    )
    width = 0.84 / len(systems)
    # numbers over bars that are narrower than the numbers would run into each other
    inches_per_bar = figure.get_size_inches()[0] * 0.88 / groups * width
    upright = inches_per_bar >= 0.34
    top = 0.0
    for number, (name, values) in enumerate(systems.items()):
        heights = [values.get(key) for key in keys]
        if with_average:
            heights.append(sum(values[key] or 0.0 for key in common) / len(common))
        shown = [
            (index + (number - (len(systems) - 1) / 2) * width, height)
            for index, height in enumerate(heights)
            if height is not None
        ]
        drawn = axis.bar(
            [place for place, _ in shown],
            [height for _, height in shown],
            width,
            label=name,
            color=COLOURS[number % len(COLOURS)],
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="#333333",
            linewidth=0.6,
        )
        axis.bar_label(drawn, fmt="%.1f", padding=2, fontsize=8, rotation=0 if upright else 90)
        top = max([top, *(height for _, height in shown)])
    names = [(labels or {}).get(key, key) for key in keys] + ["average"] * with_average
    axis.set_xticks(range(groups), names)
    if max(len(name) for name in names) > 1.1 * figure.get_size_inches()[0] * 11 / groups:
        axis.tick_params(axis="x", rotation=35)
    if with_average:
        axis.axvline(len(keys) - 0.5, color="#555555", linewidth=0.9, linestyle=":")
    axis.set_xlim(-0.6, groups - 0.4)
    axis.set_ylim(0, (top or 1.0) * (1.12 if upright else 1.2))
    axis.set_ylabel(ylabel)
    axis.grid(True, axis="y", color="#D9D9D9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_title(title)
    if len(systems) > 1:
        columns = min(len(systems), 5)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=columns, frameon=False)
    _save(figure, path)


def _figure(rows: int, columns: int, **options: Any) -> tuple[Any, Any]:
    """A figure of the Agg backend, without touching pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = options.pop("figsize")
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for axis in [axes] if rows * columns == 1 else axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")
