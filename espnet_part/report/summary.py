"""The tables at the head of a report: every system by every measure, and the paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from espnet_part import display
from espnet_part.document import Block, Bullets, Heading, Paragraph, Table
from espnet_part.report.comparison_tables import (
    Measure,
    Rows,
    average,
    average_interval,
    comparison_table,
    figures,
    find_measures,
    labels,
    paired_explanation,
    paired_tables,
    seeds_table,
    shown,
)
from espnet_part.score.significance import PairedResult

Groups = Sequence[tuple[str, Rows]]
"""What `systems.side_by_side` makes: (name of the test set, rows)."""


def comparison_blocks(groups: Groups, level: int = 2) -> list[Block]:
    """The summary tables: a row a system, one table for each measure, with means over seeds.

    Where test sets share languages, each has its tables, after one with all their averages.
    """
    blocks: list[Block] = []
    if len(groups) > 1:
        blocks += [Heading(level, "Averages by test set"), _averages_table(groups)]
    for name, rows in groups:
        for measure in find_measures(rows):
            title = measure.title + (f": {display.markdown(name)}" if name else "")
            blocks += [Heading(level, title), comparison_table(rows, measure)]
            seeds = seeds_table(rows, measure)
            if seeds:
                blocks += [Paragraph("Mean and standard deviation over seeds:"), seeds]
    if blocks and any(score.get("intervals") for _, rows in groups for _, score in rows):
        blocks.append(Paragraph(_interval_line(groups)))
    return blocks


def _interval_line(groups: Groups) -> str:
    settings = [
        score["bootstrap"] for _, rows in groups for _, score in rows if "bootstrap" in score
    ]
    level = f"{100 * settings[0]['level']:g} %" if settings else "95 %"
    samples = f", {settings[0]['samples']} samples" if settings else ""
    return f"In brackets: {level} interval by bootstrap over utterances{samples}."


def _averages_table(groups: Groups) -> Table:
    """A row a system, a column a test set and measure."""
    columns: list[tuple[str, Measure, Rows]] = [
        (name, measure, rows) for name, rows in groups for measure in find_measures(rows)
    ]
    systems = list(dict.fromkeys(label for _, rows in groups for label, _ in rows))
    lines = []
    for system in systems:
        cells = []
        for _, measure, rows in columns:
            score = dict(rows).get(system)
            whole = score and set(labels(rows, measure)) == set(figures(score, measure))
            if score and whole:
                value = average(score, measure, measure.name)
                cells.append(shown(value, average_interval(score, measure, measure.name)))
            else:
                cells.append("-")
        lines.append([system, *cells])
    return Table(["system", *(f"{name}: {m.title}" for name, m, _ in columns)], lines)


def paired_blocks(
    tests: Mapping[str, Sequence[PairedResult]], notes: Sequence[str], level: int = 2
) -> list[Block]:
    """Tests of each system against the first; chrF++ is in the JSON file only."""
    blocks: list[Block] = []
    for name, found in tests.items():
        main = [test for test in found if test.metric != "chrf++"]
        suffix = f": {display.markdown(name)}" if len(tests) > 1 else ""
        blocks += [Heading(level, f"Paired tests{suffix}"), *paired_tables(main, level + 1)]
    if tests:
        found = [test for results in tests.values() for test in results]
        blocks.append(Paragraph(paired_explanation(found)))
    elif notes:
        blocks.append(Heading(level, "Paired tests"))
    if notes:
        blocks.append(Bullets([display.sentence(note) for note in notes]))
    return blocks
