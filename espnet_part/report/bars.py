"""Bar charts of scores by language and system, with intervals.

A panel is one measure: groups of bars, a group a language or direction, a bar a system. Intervals
are error bars. Published figures, which nobody rescored, are hollow markers in places of their
own. Panels with many bars are broken into rows of equal scale. Hatches say the same as colours
again, for print in grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_part.report.figure import COLOURS, HATCHES, drawing, new_figure, save

Values = Mapping[str, Mapping[str, float | None]]
"""{system: {language or direction: figure}}."""
Intervals = Mapping[str, Mapping[str, tuple[float, float]]]

AVERAGE = "average"
_MARKERS = ("D", "o", "s", "^", "v", "P", "X", "<")
_BARS_IN_ROW = 40
_INCHES_PER_SLOT = 0.235


@dataclass(frozen=True)
class Panel:
    """One measure.

    Attributes:
        values: a figure may be missing.
        intervals: (low, high) beside figures, where known; under `AVERAGE` that of the average.
        labels: what to write under a language instead of its key, such as "zh (CER)".
        published: figures that were not rescored.
    """

    title: str
    ylabel: str
    values: Values
    intervals: Intervals = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    published: Values = field(default_factory=dict)

    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for values in self.values.values() for key in values))

    def averages(self) -> dict[str, float]:
        """Over the languages that all systems have; empty where that is one or none."""
        common = [
            key
            for key in self.keys()
            if all(values.get(key) is not None for values in self.values.values())
        ]
        if len(common) < 2:
            return {}
        return {
            name: sum(values[key] or 0.0 for key in common) / len(common)
            for name, values in self.values.items()
        }


def plot_panels(panels: Sequence[Panel], path: Path) -> None:
    """Write `draw_panels` as PNG."""
    save(draw_panels(panels), path)


@drawing
def draw_panels(panels: Sequence[Panel]) -> Any:
    """Draw panels below each other.

    Raises:
        ValueError: nothing to draw.
    """
    panels = [panel for panel in panels if panel.keys()]
    if not panels:
        raise ValueError("no score to draw")
    rows = [(panel, row) for panel in panels for row in _rows(panel)]
    slots = max(len(row) * (_slots(panel) + 0.8) for panel, row in rows)
    width = min(max(6.5, 1.0 + _INCHES_PER_SLOT * slots), 16)
    figure, axes = new_figure(len(rows), 1, figsize=(width, 0.9 + 3.1 * len(rows)), squeeze=False)
    drawn: dict[str, Any] = {}
    titled: list[Panel] = []
    for (panel, row), axis in zip(rows, axes.flat, strict=True):
        drawn |= _draw_row(axis, panel, row, width)
        if panel not in titled:
            axis.set_title(panel.title)
            titled.append(panel)
    if len(drawn) > 1:
        longest = max(len(name) for name in drawn)
        columns = max(1, min(len(drawn), int(width * 11 / (longest + 6))))
        figure.legend(
            drawn.values(), drawn.keys(), loc="outside lower center", ncols=columns, frameon=False
        )
    return figure


def _rows(panel: Panel) -> list[list[str]]:
    """The groups of each row of a panel, evenly."""
    groups = panel.keys() + [AVERAGE] * bool(panel.averages())
    number = math.ceil(len(groups) * _slots(panel) / _BARS_IN_ROW)
    size = math.ceil(len(groups) / max(1, min(number, len(groups))))
    return [groups[start : start + size] for start in range(0, len(groups), size)]


def _slots(panel: Panel) -> int:
    return len(panel.values) + len(_published(panel))


def _published(panel: Panel) -> dict[str, Mapping[str, float | None]]:
    """Those with a figure in a language of the panel; averages are over other languages."""
    keys = set(panel.keys())
    return {
        name: values
        for name, values in panel.published.items()
        if any(values.get(key) is not None for key in keys)
    }


def _draw_row(axis: Any, panel: Panel, row: Sequence[str], figure_width: float) -> dict[str, Any]:
    """Draw some groups of a panel; return the legend's handles by name."""
    averages = panel.averages()
    published = _published(panel)
    groups = len(_rows(panel)[0])  # a last row with fewer leaves its place empty
    width = 0.84 / max(_slots(panel), 3)
    # numbers over bars that are narrower than the numbers would run into each other
    upright = figure_width * 0.86 / groups * width >= 0.34
    text = {"fontsize": 8 if upright else 7, "rotation": 0 if upright else 90}
    handles: dict[str, Any] = {}
    for index, key in enumerate(row):
        # published averages are over other languages
        beside = [n for n, v in published.items() if key != AVERAGE and v.get(key) is not None]
        start = index - (len(panel.values) + len(beside) - 1) / 2 * width
        for number, (name, values) in enumerate(panel.values.items()):
            height = averages.get(name) if key == AVERAGE else values.get(key)
            if height is None:
                continue
            place = start + number * width
            interval = panel.intervals.get(name, {}).get(key, (height, height))
            handles[name] = _bar(axis, place, width, height, interval, number)
            _number(axis, place, height, max(height, interval[1]), text)
        for slot, name in enumerate(beside, len(panel.values)):
            value = published[name][key] or 0.0
            place = start + slot * width
            (handles[f"{name} (published)"],) = axis.plot(
                [place],
                [value],
                linestyle="none",
                marker=_MARKERS[list(published).index(name) % len(_MARKERS)],
                markersize=6,
                markerfacecolor="none",
                markeredgecolor="#333333",
            )
            _number(axis, place, value, value, text, distance=6)
    _finish(axis, panel, row, groups, figure_width)
    order = [*panel.values, *(f"{name} (published)" for name in published)]
    return {name: handles[name] for name in order if name in handles}


def _bar(
    axis: Any, place: float, width: float, height: float, interval: tuple[float, float], number: int
) -> Any:
    bar = axis.bar(
        place,
        height,
        width,
        color=COLOURS[number % len(COLOURS)],
        # a ninth system has the first one's colour, with another hatch
        hatch=HATCHES[(number + number // len(COLOURS)) % len(HATCHES)],
        edgecolor="#333333",
        linewidth=0.6,
    )
    below, above = (max(0.0, distance) for distance in (height - interval[0], interval[1] - height))
    if below or above:
        axis.errorbar(
            place,
            height,
            yerr=[[below], [above]],
            color="#000000",
            elinewidth=1.0,
            capsize=min(3.0, 30 * width),
        )
    return bar


def _number(
    axis: Any, place: float, value: float, top: float, text: dict[str, Any], distance: int = 3
) -> None:
    axis.annotate(
        f"{value:.1f}",
        xy=(place, top),
        xytext=(0, distance),
        textcoords="offset points",
        ha="center",
        va="bottom",
        **text,
    )


def _finish(axis: Any, panel: Panel, row: Sequence[str], groups: int, figure_width: float) -> None:
    names = [panel.labels.get(key, key) for key in row]
    axis.set_xticks(range(len(row)), names)
    if max(len(name) for name in names) > 11 * figure_width / groups:
        axis.tick_params(axis="x", rotation=35)
    if row[-1] == AVERAGE and len(row) > 1:
        axis.axvline(len(row) - 1.5, color="#555555", linewidth=0.9, linestyle=":")
    axis.set_xlim(-0.6, groups - 0.4)
    axis.set_ylim(0, _top(panel) * 1.2)
    axis.set_ylabel(panel.ylabel)
    axis.grid(True, axis="y", color="#D9D9D9", linewidth=0.6)
    axis.set_axisbelow(True)


def _top(panel: Panel) -> float:
    """The highest thing drawn in any row, so that all rows have one scale."""
    keys = panel.keys()
    heights = [
        value
        for values in (*panel.values.values(), *_published(panel).values())
        for key in keys
        if (value := values.get(key)) is not None
    ]
    heights += [high for found in panel.intervals.values() for _, high in found.values()]
    return max(heights, default=0.0) or 1.0
