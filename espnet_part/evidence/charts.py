"""Figures of the evidence: gains with intervals, and learning curves by phase, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_part.evidence.findings import MEASURES, Finding
from espnet_part.evidence.plan import Setting
from espnet_part.report.figure import COLOURS, LINES, drawing, new_figure, save

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p")
TITLES = {"wer": "error rate", "bleu": "BLEU"}


def setting_name(setting: Setting, among: Sequence[Setting]) -> str:
    """What tells a setting from the others of its question, in words."""
    words = {
        "corpus": f"corpus {setting.corpus}",
        "s2tt": f"{100 * setting.s2tt:g} % of S2TT",
        "steps": f"{setting.steps:g} x the steps",
        "batch": f"batches {setting.batch:g} x as large",
    }
    varied = [key for key in words if len({getattr(other, key) for other in among}) > 1]
    return ", ".join(words[key] for key in varied)


@drawing
def draw_gains(finding: Finding, path: Path) -> None:
    """What the first of each pair has over the second, a row each, with 95 % intervals.

    Raises:
        ValueError: nothing to draw.
    """
    measures = [
        name
        for name in MEASURES
        if any(g.found and g.found.is_finite and g.measure == name for g in finding.gains)
    ]
    pairs = list(dict.fromkeys(finding.question.pairs))
    rows = [(pair, setting) for pair in pairs for setting in finding.settings]
    if not measures:
        raise ValueError("no gain to draw")
    figure, axes = new_figure(
        1, len(measures), figsize=(10, 1.4 + 0.36 * len(rows)), squeeze=False, sharey=True
    )
    for axis, measure in zip(axes.flat, measures, strict=True):
        axis.axvline(0, color="#555555", linewidth=0.9)
        for place, ((first, second), setting) in enumerate(rows):
            gain = next(
                g.found
                for g in finding.gains
                if (g.first, g.second, g.setting, g.measure) == (first, second, setting, measure)
            )
            if gain is None or not gain.is_finite:
                continue
            number = finding.settings.index(setting)
            clear = gain.low > 0 or gain.high < 0
            axis.errorbar(
                gain.value,
                place,
                xerr=[[gain.value - gain.low], [gain.high - gain.value]],
                color=COLOURS[number % len(COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                markerfacecolor=None if clear else "white",
                markersize=7,
                capsize=3,
            )
        axis.set_xlabel(f"gain in points of {TITLES[measure]}")
        axis.grid(True, axis="x", color="#D9D9D9", linewidth=0.6)
        axis.set_axisbelow(True)
    several = len(finding.settings) > 1
    names = [
        f"{first} over {second}"
        + (f": {setting_name(setting, finding.settings)}" if several else "")
        for (first, second), setting in rows
    ]
    axes[0, 0].set_yticks(range(len(rows)), names)
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(f"{finding.question.asks}\n(to the right: the first is better)")
    save(figure, path)


@drawing
def draw_curves(finding: Finding, path: Path) -> None:
    """Dev figures at the end of each phase over optimizer steps; bars are the range over seeds.

    Raises:
        ValueError: nothing to draw.
    """
    measures = [
        name
        for name in MEASURES
        if any(name in point.values for curve in finding.curves.values() for point in curve)
    ]
    if not measures:
        raise ValueError("no curve to draw")
    figure, axes = new_figure(1, len(measures), figsize=(11, 4.6), squeeze=False)
    for axis, measure in zip(axes.flat, measures, strict=True):
        for number, (system, curve) in enumerate(finding.curves.items()):
            shown = [point for point in curve if measure in point.values]
            middle = [point.values[measure][0] for point in shown]
            axis.errorbar(
                [point.step for point in shown],
                middle,
                yerr=[
                    [m - point.values[measure][1] for m, point in zip(middle, shown, strict=True)],
                    [point.values[measure][2] - m for m, point in zip(middle, shown, strict=True)],
                ],
                color=COLOURS[number % len(COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle=LINES[number % len(LINES)],
                markersize=6,
                capsize=2,
                elinewidth=0.9,
                label=system,
            )
        axis.set_xlabel("optimizer steps, at the end of a phase")
        axis.set_ylabel("dev: average error rate (%)" if measure == "wer" else "dev: average BLEU")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(True, axis="y", color="#D9D9D9", linewidth=0.6)
        axis.set_axisbelow(True)
    axes[0, 0].legend(loc="best", framealpha=0.9)
    save(figure, path)
