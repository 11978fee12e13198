"""Pictures of an analysis: matrices, curves over layers, projections; PNG for pages, PDF for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.analysis.similarity import Similarity
from espnet_part.report.figure import COLOURS, LINES, new_figure, save

Array = np.ndarray
_MARKERS = "osD^vPX*"


def draw_matrices(results: Mapping[str, Similarity], title: str, path: Path) -> None:
    """A matrix of cosines for each module: above the diagonal as they are, below without noise.

    On the diagonal stands what two halves of a group's own batches have in common. Values are written
    into the cells where there is room, so that the picture can be read without colours.

    Args:
        results: by module. path: without suffix.
    """
    most = max(len(result.groups) for result in results.values())
    size = max(2.2, 0.34 * most) + 0.9
    figure, axes = _panels(len(results), 3 if most <= 12 else 2, (size, size), 0.9)
    for axis, (module, result) in zip(axes.flat, results.items(), strict=False):
        image = _draw_matrix(axis, result)
        axis.set_title(module, fontsize=9)
    figure.colorbar(
        image, ax=axes, location="bottom", shrink=0.5, aspect=40, label="cosine of gradients"
    )
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _draw_matrix(axis: Any, result: Similarity) -> Any:
    groups = result.groups
    shown = np.triu(result.cosine, 1) + np.tril(result.told(), -1) + np.diag(result.halves)
    image = axis.imshow(shown, cmap="PuOr_r", vmin=-1, vmax=1)
    axis.set_xticks(range(len(groups)), groups, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(groups)), groups, fontsize=7)
    axis.spines[:].set_visible(False)
    for border in _borders([group.split()[0] for group in groups]):
        axis.axhline(border - 0.5, color="black", linewidth=1.2)
        axis.axvline(border - 0.5, color="black", linewidth=1.2)
    if len(groups) > 16:
        return image
    for (row, column), value in np.ndenumerate(shown):
        axis.text(
            *(column, row, _cell(value)),
            ha="center",
            va="center",
            fontsize=6,
            color="white" if abs(value) > 0.7 else "black",
            fontweight="bold" if row == column else "normal",
        )
    return image


def draw_lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]],
    ticks: Mapping[int, str],
    chances: Mapping[str, float],
    title: str,
    path: Path,
) -> None:
    """Curves over the layers of a model, a panel a measure and a line a model.

    Args:
        panels: measure -> name of the line -> (number of the layer, value).
        ticks: the layers' names by number.
        chances: measure -> what guessing gives, drawn as a dotted line.
        path: without suffix.
    """
    figure, axes = _panels(len(panels), 2, (5.4, 3.3), 1.0)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    drawn: dict[str, Any] = {}
    turned: dict[str, Any] = {"rotation": 90, "fontsize": 6} if len(ticks) > 6 else {"fontsize": 7}
    for axis, (measure, lines) in zip(axes.flat, panels.items(), strict=False):
        for name, points in lines.items():
            number = names.index(name)
            (drawn[name],) = axis.plot(
                *zip(*points, strict=True),
                color=COLOURS[number % len(COLOURS)],
                linestyle=LINES[number // len(COLOURS) % len(LINES)],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=4,
                label=name,
            )
        if chances.get(measure):
            axis.axhline(chances[measure], color="#555555", linestyle=":", linewidth=1)
            axis.text(
                min(ticks) - 0.4,
                chances[measure],
                "chance",
                fontsize=7,
                color="#555555",
                va="bottom",
            )
        axis.set_title(measure, fontsize=9)
        axis.set_xlim(min(ticks) - 0.5, max(ticks) + 0.5)
        axis.set_ylim(min(0.0, axis.get_ylim()[0]), 1.03)
        axis.set_xticks(list(ticks), [_short(tick) for tick in ticks.values()], **turned)
        axis.grid(True, axis="y", color="#D9D9D9", linewidth=0.6)
    shown = [drawn[name] for name in names]
    figure.legend(shown, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def draw_projections(panels: Mapping[str, Mapping[str, Array]], title: str, path: Path) -> None:
    """Representations in two dimensions (the principal components of each panel), a mark a group.

    Args:
        panels: name of the panel -> group -> (N, dim). path: without suffix.
    """
    from sklearn.decomposition import PCA

    figure, axes = _panels(len(panels), 3, (3.6, 3.4), 0.8)
    for axis, (name, groups) in zip(axes.flat, panels.items(), strict=False):
        together = np.concatenate(list(groups.values()))
        components = PCA(n_components=2, svd_solver="full").fit(together)
        for number, (group, states) in enumerate(groups.items()):
            axis.scatter(
                *components.transform(states).T,
                s=14,
                color=COLOURS[number % len(COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                label=group,
                alpha=0.75,
                linewidths=0.3,
                edgecolors="black",
            )
        share = components.explained_variance_ratio_.sum()
        axis.set_title(f"{name} ({share:.0%} of the variance)", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=8
    )
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _panels(number: int, most: int, size: tuple[float, float], besides: float) -> tuple[Any, Any]:
    """A figure of ``number`` panels, at most ``most`` a row, and its axes.

    Args:
        size: of a panel, width and height. besides: height for what is above and below (inches).
    """
    columns = min(number, most)
    rows = -(-number // columns)
    figsize = (size[0] * columns, size[1] * rows + besides)
    figure, axes = new_figure(rows, columns, figsize=figsize, squeeze=False)
    for axis in axes.flat[number:]:
        axis.set_visible(False)
    return figure, axes


def _borders(tasks: Sequence[str]) -> list[int]:
    return [place for place in range(1, len(tasks)) if tasks[place] != tasks[place - 1]]


def _cell(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}".replace("-0.0", "0.0")


def _short(layer: str) -> str:
    """ "encoder.layers.3" as "enc 3"."""
    part, _, number = layer.partition(".")
    return f"{part[:3]} {number.rpartition('.')[2]}" if number else layer.replace(" ", "\n")


def _save(figure: Any, path: Path) -> None:
    for form in ("png", "pdf"):
        save(figure, path.with_name(f"{path.name}.{form}"))
