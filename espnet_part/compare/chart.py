"""The chart of a comparison: a panel a measure, languages by systems, intervals as error bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espnet_part.compare.comparison import Comparison
from espnet_part.compare.published import Benchmark, rows_of
from espnet_part.report.bars import plot_panels
from espnet_part.report.comparison_tables import find_measures
from espnet_part.report.panels import score_panel


def draw_comparison(comparison: Comparison, published: Sequence[Benchmark], path: Path) -> None:
    """Write a PNG; published figures are hollow markers."""
    rows = [(entry.output.name, entry.score) for entry in comparison.entries]
    panels = []
    for measure in find_measures(rows):
        panels.append(score_panel(rows, measure, published=rows_of(published, measure.task)))
    plot_panels(panels, path)
