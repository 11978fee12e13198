"""Figures in one style: drawn without a display, readable by the colour-blind and in grey print.

Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from espnet_part.files import atomic_write

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++", "--")


def new_figure(rows: int, columns: int, **options: Any) -> tuple[Any, Any]:
    """A figure of the Agg backend, and its axes, without touching pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = options.pop("figsize")
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")
