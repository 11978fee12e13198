"""Figures in one style: drawn without a display, readable by the colour-blind and in grey print.

Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from espnet_part.files import atomic_write

_P = ParamSpec("_P")
_T = TypeVar("_T")

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx", "\\\\", "oo", "++", "--")


def drawing(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """For functions that draw: names of others are no formulas, and text stays text in SVG."""

    @functools.wraps(function)
    def wrapped(*args: _P.args, **options: _P.kwargs) -> _T:
        import matplotlib

        with matplotlib.rc_context({"text.parse_math": False, "svg.fonttype": "none"}):
            return function(*args, **options)

    return wrapped


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


def name_phases(
    axis: Any, phases: Sequence[tuple[str, str, int, int]], last: int, characters: int
) -> None:
    """Write the names of phases over an axis of steps, "training: phase" where there are several trainings.

    They are turned where one is wider than its phase, and then stand apart: a line leads from a name that
    had to move to the middle of its phase.

    Args:
        phases: training, phase, first step and last one. last: the last step of all.
        characters: how many fit over the axis.
    """
    chained = len({training for training, *_ in phases}) > 1
    names = [f"{training}:\n{phase}" if chained else phase for training, phase, *_ in phases]
    turned = any(
        characters * (end - start) / max(last, 1) < max(map(len, name.split("\n")))
        for (*_, start, end), name in zip(phases, names, strict=True)
    )
    middles = [(start + end) / 2 for *_, start, end in phases]
    # a turned line of text takes as much of the axis as three or four characters
    places = spread(middles, 4 * last / characters, last) if turned else middles
    for middle, place, name in zip(middles, places, names, strict=True):
        axis.annotate(
            name.replace("\n", " ") if turned else name,
            xy=(middle, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(place, 1.04),
            textcoords=("data", "axes fraction"),
            ha="left" if turned else "center",
            va="bottom",
            rotation=30 if turned else 0,
            fontsize=8,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#777777"}
            if turned
            else None,
        )


def spread(wanted: Sequence[float], gap: float, last: float) -> list[float]:
    """Places as near as may be to the ``wanted`` ones, in their order, ``gap`` apart and up to ``last``.

    Where that much room is not to be had, they are as far apart as there is.
    """
    gap = min(gap, last / max(len(wanted) - 1, 1))
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    for index in reversed(range(len(places))):
        limit = places[index + 1] - gap if index + 1 < len(places) else last
        places[index] = min(places[index], limit)
    return places


@drawing
def save(figure: Any, path: Path) -> None:
    """Write a PNG or, for print, a PDF (by the path's ending), whole or not at all."""
    form = path.suffix.removeprefix(".")
    # no date inside: the same figure gives the same bytes
    metadata = {"CreationDate": None} if form == "pdf" else None
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format=form, metadata=metadata)


@drawing
def as_svg(figure: Any) -> str:
    """The `svg` element of a figure, to stand in a page beside others."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # matplotlib names its groups alike in every figure, and refers to none of these names
    return re.sub(r'<g id="[^"]*"', "<g", svg)
