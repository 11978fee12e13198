"""ANALYSIS.md, tables and pictures of an analysis, and analysis.json, by which a report finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_part import display
from espnet_part.analysis.checkpoints import file_name
from espnet_part.analysis.layers import Measure
from espnet_part.analysis.pictures import draw_lines, draw_matrices, draw_projections
from espnet_part.analysis.similarity import Similarity
from espnet_part.errors import DataError
from espnet_part.files import atomic_write

_GRADIENTS = (
    "Cosine between the mean gradients of (task, language) groups, by module. Above the diagonal as "
    "measured; below it without the noise of sampling (– where that leaves an interval wider than ±0.5); on "
    "it, in bold, what two halves of a group's own batches have in common: where that is low, the batches "
    "are too few or too small to show much. The table's ± of a cosine as measured is that of what so many "
    "batches show, noise included. {size}"
)
_LAYERS = {
    "language": "language identified from speech (linear, cross-validated)",
    "speech-text": "speech finds its transcript and back (recall@1)",
    "speech-translation": "speech finds its translation and back (recall@1)",
    "speech-speech": "speech finds the same sentence in another language (recall@1)",
    "cka speech-text": "CKA of speech and transcript",
    "cka speech-speech": "CKA of the same sentences in two languages",
}


@dataclass(frozen=True)
class Entry:
    """One picture and its table; see `write_document`."""

    title: str
    caption: str
    picture: str
    table: str


def gradient_entry(
    out: Path, system: str, model: str, results: Mapping[str, Similarity], size: str, sketched: bool
) -> Entry:
    """Draw and tabulate one model's matrices.

    Args:
        system, model: names. results: by module. size: of batches, in words. sketched: whether any
            module's products are those of sketches.
    """
    name = file_name("gradients", system, model)
    title = f"Similarity of gradients: {system}, {model}"
    draw_matrices(results, title, out / name)
    lines = [
        "module\tgroup\tother\tcosine\t±\twithout noise\t±\thalves of the group\thalves of the other"
    ]
    for module, result in results.items():
        for row, group in enumerate(result.groups):
            for column in range(row + 1, len(result.groups)):
                cell = (row, column)
                figures = (
                    *(result.cosine[cell], result.cosine_error[cell]),
                    *(result.corrected[cell], result.corrected_error[cell]),
                    *(result.halves[row], result.halves[column]),
                )
                other = result.groups[column]
                lines.append("\t".join([module, group, other, *map(_number, figures)]))
    _write_lines(out / f"{name}.tsv", lines)
    caption = _GRADIENTS.format(size=size)
    if sketched:
        caption += " Modules too large to keep are compared by random sketches."
    return Entry(title, caption, f"{name}.png", f"{name}.tsv")


def phases_entry(out: Path, system: str, phases: Mapping[str, Mapping[str, Similarity]]) -> Entry:
    """Draw how the similarity between pairs of groups goes through the phases, by kind of pair.

    Args:
        phases: phase -> module -> similarity, in the order of training.
    """
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    lines = ["phase\tpart\tpair of tasks\tcosine, mean\twithout noise, mean\tpairs\tof them told"]
    for number, (phase, modules) in enumerate(phases.items()):
        values: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for module, result in modules.items():
            part, told = module.partition(".")[0].split()[0], result.told()
            for row, column in zip(*np.triu_indices(len(result.groups), 1), strict=True):
                pair = sorted(result.groups[place].split()[0] for place in (row, column))
                cell = (float(result.cosine[row, column]), float(told[row, column]))
                values.setdefault((part, "-".join(pair)), []).append(cell)
        for (part, tasks), pairs in values.items():
            cosines, told = np.array(pairs).T
            known = told[~np.isnan(told)]
            mean = float(known.mean()) if len(known) else float("nan")
            panels.setdefault(part, {}).setdefault(tasks, []).append(
                (number, float(cosines.mean()))
            )
            figures = (
                _number(float(cosines.mean())),
                _number(mean),
                str(len(told)),
                str(len(known)),
            )
            lines.append("\t".join([phase, part, tasks, *figures]))
    name = file_name("gradients", system, "phases")
    title = f"Similarity of gradients through the phases: {system}"
    draw_lines(panels, dict(enumerate(phases)), {}, title, out / name)
    _write_lines(out / f"{name}.tsv", lines)
    caption = (
        "Mean cosine between groups of two tasks, over languages and blocks, as measured (the table has it "
        "without noise, too)."
    )
    return Entry(title, caption, f"{name}.png", f"{name}.tsv")


def layers_entry(
    out: Path, title: str, name: str, models: Mapping[str, Sequence[Measure]]
) -> Entry:
    """Draw and tabulate the measures of several models over their layers.

    Args:
        models: by name, in the order of the legend.
    """
    ticks: dict[int, str] = {}
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    chances: dict[str, list[float]] = {}
    lines = ["model\tlayer\tmeasure\tbetween\tvalue\tchance\titems"]
    for model, measures in models.items():
        by_layer: dict[tuple[str, int], list[float]] = {}
        for m in measures:
            if ticks.setdefault(m.number, m.layer) != m.layer:
                raise DataError(
                    f"{model}: its layer {m.number} is {m.layer}, and {ticks[m.number]} in models before it: "
                    "analyse models of other layers by themselves"
                )
            by_layer.setdefault((m.kind, m.number), []).append(m.value)
            chances.setdefault(_LAYERS[m.kind], []).append(m.chance)
            lines.append(
                "\t".join(
                    [
                        model,
                        m.layer,
                        m.kind,
                        m.between,
                        f"{m.value:.3f}",
                        f"{m.chance:.3f}",
                        str(m.items),
                    ]
                )
            )
        for (kind, number), values in sorted(by_layer.items(), key=lambda item: item[0][1]):
            panel = panels.setdefault(_LAYERS[kind], {})
            panel.setdefault(model, []).append((number, float(np.nanmean(values))))
    panels = {label: panels[label] for label in _LAYERS.values() if label in panels}
    draw_lines(
        panels,
        dict(sorted(ticks.items())),
        {label: float(np.mean(values)) for label, values in chances.items()},
        title,
        out / name,
    )
    _write_lines(out / f"{name}.tsv", lines)
    caption = "Means over languages or pairs of them; the table has each."
    return Entry(title, caption, f"{name}.png", f"{name}.tsv")


def projection_entry(
    out: Path, title: str, name: str, panels: Mapping[str, Mapping[str, np.ndarray]]
) -> Entry:
    """Draw representations in two dimensions; the table has the shares of variance between groups."""
    draw_projections(panels, title, out / name)
    lines = ["panel\tgroup\titems\tdistance of the group's centre from the common one, in spreads"]
    for panel, groups in panels.items():
        together = np.concatenate(list(groups.values()))
        centre, spread = together.mean(axis=0), np.sqrt(together.var(axis=0).sum())
        for group, states in groups.items():
            distance = np.linalg.norm(states.mean(axis=0) - centre) / spread
            lines.append(f"{panel}\t{group}\t{len(states)}\t{distance:.3f}")
    _write_lines(out / f"{name}.tsv", lines)
    return Entry(
        title, "The first two principal components of each panel.", f"{name}.png", f"{name}.tsv"
    )


def write_document(out: Path, entries: Sequence[Entry], settings: Mapping[str, str]) -> Path:
    """Write ANALYSIS.md and analysis.json over the pictures and tables in ``out``."""
    parts = ["<!-- Generated by part_analyze -->\n# Analysis of alignment"]
    parts.append("\n".join(f"- {name}: {display.code(value)}" for name, value in settings.items()))
    for entry in entries:
        pdf = entry.picture.replace(".png", ".pdf")
        parts.append(
            f"## {display.markdown(entry.title)}\n\n{entry.caption}\n\n"
            f"![{display.markdown(entry.title)}]({entry.picture})\n\n"
            f"Figures: [{entry.table}]({entry.table}); for print: [{pdf}]({pdf})"
        )
    with atomic_write(out / "ANALYSIS.md") as file:
        file.write("\n\n".join(parts) + "\n")
    with atomic_write(out / "analysis.json") as file:
        json.dump([vars(entry) for entry in entries], file, ensure_ascii=False, indent=1)
        file.write("\n")
    return out / "ANALYSIS.md"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_write(path) as file:
        file.write("\n".join(lines) + "\n")
