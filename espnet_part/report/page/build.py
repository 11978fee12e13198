"""report.html: its sections, each from what is there, and with a word on what is not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from espnet_part import display
from espnet_part.document import Bullets, Heading, Paragraph, Table
from espnet_part.errors import UserError
from espnet_part.files import atomic_write
from espnet_part.report.page.analysis import INDEX, analysis_parts
from espnet_part.report.page.cost import cost_parts
from espnet_part.report.page.datasets import Directories, data_parts, find_data
from espnet_part.report.page.examples import example_parts
from espnet_part.report.page.parts import Fold, Part, Picture, Section
from espnet_part.report.page.provenance import provenance_parts
from espnet_part.report.page.render import render
from espnet_part.report.page.schedule import Span, alike, draw_schedule, read_spans, schedule_rows
from espnet_part.report.page.scored_set import ScoredSet, read_scored_set
from espnet_part.report.page.worst import worst_parts
from espnet_part.report.results import Results
from espnet_part.report.summary import comparison_blocks, paired_blocks
from espnet_part.report.system_tables import setting_warnings, test_set_table
from espnet_part.report.training_tables import training_table
from espnet_part.score.score_tables import score_blocks

NAME = "report.html"
MOST_PICTURES = 30
"""Of a kind; of more systems the first ones are drawn."""


def write_page(
    out_dir: Path, results: Results, data: Directories | None = None, analysis: Path | None = None
) -> Path:
    """Write report.html below ``out_dir``: one file that needs no other.

    Args:
        data: directories of training and test sets by name, as `--data` of part_report gives them;
            to these come those that trainings and scores name.
        analysis: where `part_analyze` has left its results.

    Returns:
        The file.
    """
    path = out_dir / NAME
    with atomic_write(path) as file:
        file.write(render(results.title, sections(results, data or {}, analysis)))
    return path


def sections(results: Results, data: Directories, analysis: Path | None) -> list[Section]:
    """The whole content of the page."""
    known = {**find_data(results), **data}
    sets, lacking = _test_sets(results)
    first = results.systems[0].name if results.systems else ""
    makers: list[tuple[str, str, Callable[[], Sequence[Part]]]] = [
        ("summary", "Summary", partial(_summary, results)),
        ("schedule", "Schedule", partial(_schedules, results)),
        ("curves", "Learning curves", partial(_curves, results)),
        ("scores", "Scores", partial(_scores, results)),
        ("analysis", "Analysis", partial(_analysis, analysis)),
        ("examples", "Examples", partial(_examples, sets, lacking, known)),
        ("worst", "Worst utterances", partial(_worst, sets, lacking, first)),
        ("data", "Data", partial(data_parts, known)),
        ("cost", "Cost", partial(cost_parts, results)),
        ("provenance", "Provenance", partial(provenance_parts, results)),
    ]
    return [Section(anchor, title, _guarded(title, make)) for anchor, title, make in makers]


def _guarded(title: str, make: Callable[[], Sequence[Part]]) -> Sequence[Part]:
    """A section, or why it is not there.

    What others left may be of any shape, and one section must not cost the page the others.
    """
    try:
        return make()
    except Exception as error:
        logging.warning("report.html: %s: %s", title, _said(error))
        return [Paragraph(f"Not here: {display.sentence(_said(error))}")]


def _said(error: Exception) -> str:
    if isinstance(error, UserError | OSError):
        return str(error)
    return f"{type(error).__name__}: {display.plain(error, 300)}"


def _drawn(draw: Callable[[], Any], caption: str) -> Picture | Paragraph:
    """A picture, or why there is none: matplotlib raises whatever its parts raise."""
    from espnet_part.report.figure import as_svg

    try:
        return Picture(as_svg(draw()), caption)
    except Exception as error:
        logging.warning("report.html: %s: cannot be drawn: %s", caption, display.plain(error, 300))
        return Paragraph(
            display.markdown(f"{caption}: cannot be drawn: {display.plain(error, 300)}")
        )


def _summary(results: Results) -> list[Part]:
    from espnet_part.report.bars import draw_panels
    from espnet_part.report.panels import named_panels

    parts: list[Part] = [Paragraph(note) for note in results.notes]
    if not results.systems:
        return [*parts, Paragraph("No system has been scored.")]
    parts += setting_warnings(results.systems)
    sets = test_set_table(results.systems)
    if sets:
        parts.append(sets)
    parts += comparison_blocks(results.groups, 3)
    for _, panel in named_panels(results.groups):
        parts.append(_drawn(partial(draw_panels, [panel]), panel.title))
    return parts


def _schedules(results: Results) -> list[Part]:
    spans: dict[str, list[Span]] = {}
    lacking = []
    for name, paths in results.trainings.items():
        try:
            spans[name] = read_spans(paths, results.histories[name])
        except UserError as error:
            lacking.append(display.sentence(f"{display.plain(name)}: {error}"))
    entries: list[tuple[str, Sequence[Part]]] = []
    for names, own in alike(spans)[:MOST_PICTURES]:
        title = ", ".join(names)
        caption = f"Schedule of {title}: what trains, at which peak learning rate, on which tasks."
        entries.append((title, [_drawn(partial(draw_schedule, own), caption), schedule_rows(own)]))
    parts = list(_first_open(entries)) or [Paragraph("No training is known.")]
    return [*parts, Bullets(lacking)] if lacking else parts


def _curves(results: Results) -> list[Part]:
    from espnet_part.report.plots import learning_curves

    drawn = [(name, history) for name, history in results.histories.items() if history]
    entries: list[tuple[str, Sequence[Part]]] = [
        (name, [_drawn(partial(learning_curves, history), f"Learning curves of {name}.")])
        for name, history in drawn[:MOST_PICTURES]
    ]
    if not entries:
        return [Paragraph("No training has left a history.")]
    table: Table = training_table(results.histories, results.trainings)
    return [*_first_open(entries), Heading(3, "What each phase reached"), table]


def _first_open(entries: Sequence[tuple[str, Sequence[Part]]]) -> Iterator[Part]:
    for number, (title, parts) in enumerate(entries):
        if number:
            yield Fold(title, parts)
        else:
            yield from parts


def _scores(results: Results) -> list[Part]:
    parts: list[Part] = [*paired_blocks(results.tests, results.lacking, 3)]
    if results.systems:
        parts.append(Heading(3, "Each system in detail"))
    for system in results.systems:
        parts.append(Fold(system.name, score_blocks(list(system.sets.items()), 4)))
    return parts or [Paragraph("No system has been scored.")]


def _analysis(directory: Path | None) -> Sequence[Part]:
    if directory is None or not (directory / INDEX).is_file():
        return [Paragraph("There is none; `part_analyze` makes it.")]
    return analysis_parts(directory)


def _test_sets(results: Results) -> tuple[list[ScoredSet], list[str]]:
    """The test sets of the first system that can be read, and why others cannot."""
    found: list[ScoredSet] = []
    lacking: list[str] = []
    for name in results.systems[0].sets if results.systems else ():
        try:
            found.append(read_scored_set(results.systems, name))
        except Exception as error:
            lacking.append(display.sentence(f"{display.plain(name)}: {_said(error)}"))
    return found, lacking


def _examples(sets: Sequence[ScoredSet], lacking: list[str], data: Directories) -> list[Part]:
    return _with_lacking(example_parts(sets, data) if sets else [], lacking)


def _worst(sets: Sequence[ScoredSet], lacking: list[str], first: str) -> list[Part]:
    return _with_lacking(worst_parts(sets, first) if sets else [], lacking)


def _with_lacking(parts: list[Part], lacking: list[str]) -> list[Part]:
    if lacking:
        return [*parts, Paragraph("Not here:"), Bullets(lacking)]
    return parts or [Paragraph("No system has been scored.")]
