"""A comparison as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from espnet_part import display
from espnet_part.compare.comparison import Comparison, group_label
from espnet_part.compare.published import LABEL, Benchmark, rows_of
from espnet_part.document import Table, to_markdown
from espnet_part.report.comparison_tables import (
    comparison_table,
    find_measures,
    paired_explanation,
    paired_tables,
    seeds_table,
)
from espnet_part.report.paired_tests import as_records
from espnet_part.score.origin import describe_corpus
from espnet_part.score.score_tables import score_sections


def comparison_markdown(
    comparison: Comparison, published: Sequence[Benchmark] = (), title: str = "Comparison"
) -> str:
    """All tables: systems, what is missing where, figures, tests, and the scorer's details."""
    rows = [(entry.output.name, entry.score) for entry in comparison.entries]
    parts = [f"# {display.markdown(title)}", _references_line(comparison)]
    parts += [f"**{display.sentence(note)}**" for note in comparison.notes]
    parts.append(f"## Systems\n\n{_systems_table(comparison)}")
    notes = [
        f"- {display.markdown(entry.output.name)}: {display.sentence(note)}"
        for entry in comparison.entries
        for note in entry.notes
    ]
    parts += ["\n".join(notes)] * bool(notes)
    missing = _missing_table(comparison)
    parts += [f"## Missing hypotheses, which count as empty\n\n{missing}"] * bool(missing)
    for measure in find_measures(rows):
        figures = comparison_table(rows, measure, rows_of(published, measure.task))
        parts.append(f"## {measure.title}\n\n{figures}")
        seeds = seeds_table(rows, measure)
        parts += [f"Mean and standard deviation over seeds:\n\n{seeds}"] * bool(seeds)
    bootstrap = comparison.config.bootstrap
    if bootstrap.samples:
        parts.append(
            f"In brackets: {100 * bootstrap.level:g} % interval by bootstrap over utterances, "
            f"{bootstrap.samples} samples."
        )
    parts += [_published_sources(benchmark) for benchmark in published]
    if comparison.tests:
        main = [test for test in comparison.tests if test.metric != "chrf++"]
        parts.append(f"## Paired tests\n\n{to_markdown(paired_tables(main))}")
        parts.append(paired_explanation(comparison.tests))
    parts.append(f"## Details\n\n{score_sections(rows).rstrip()}")
    return "\n\n".join(parts) + "\n"


def comparison_dict(comparison: Comparison, published: Sequence[Benchmark] = ()) -> dict[str, Any]:
    """For compare.json; ``paired`` also has chrF++."""
    return {
        "references": comparison.references.origin.strip("`"),
        "config": asdict(comparison.config),
        "baseline": comparison.entries[0].output.name,
        "systems": {
            entry.output.name: {
                "path": str(entry.output.path),
                "source": entry.output.source,
                "notes": list(entry.notes),
                "tasks": list(entry.tasks),
                "matched": entry.alignment.matched,
                "missing": entry.alignment.missing,
                "missing_by_group": {
                    group_label(key): count for key, count in entry.lacking.items()
                },
                "unexpected": entry.alignment.unexpected,
                "score": entry.score,
            }
            for entry in comparison.entries
        },
        "paired": as_records(comparison.tests),
        "published": [{**asdict(benchmark), "label": LABEL} for benchmark in published],
        "notes": list(comparison.notes),
    }


def warnings(comparison: Comparison) -> list[str]:
    """What must not be overlooked."""
    lines = []
    for entry in comparison.entries:
        name, alignment = entry.output.name, entry.alignment
        if alignment.missing:
            lines.append(
                f"{name}: {len(alignment.missing)} of {entry.score['utterances']} utterances have "
                f"no hypothesis and count as empty, such as {alignment.missing[0]}"
            )
        if alignment.unexpected:
            lines.append(
                f"{name}: {len(alignment.unexpected)} hypotheses belong to no reference and are "
                f"left out, such as {alignment.unexpected[0]}"
            )
    return lines


def _references_line(comparison: Comparison) -> str:
    groups = comparison.references.groups.items()
    counts = ", ".join(f"{group_label(key)} {len(utterances)}" for key, utterances in groups)
    line = f"References: {comparison.references.origin} ({counts} utterances)."
    corpora = comparison.entries[0].score["corpus"]
    if corpora:
        line += f" Corpus: {display.markdown(describe_corpus(corpora))}."
    config = comparison.config
    script = "" if config.chinese_script == "keep" else f", Chinese {config.chinese_script}"
    return f"{line} Text normaliser of all systems: {config.normalizer}{script}."


def _systems_table(comparison: Comparison) -> Table:
    rows = [
        [
            entry.output.name,
            display.code(entry.output.path),
            entry.output.source,
            ", ".join(f"{rule}: {n}" for rule, n in entry.alignment.matched.items()),
            str(len(entry.alignment.missing)),
            str(len(entry.alignment.unexpected)),
        ]
        for entry in comparison.entries
    ]
    header = ["system", "path", "read from", "ids matched", "missing", "without reference"]
    return Table(header, rows)


def _missing_table(comparison: Comparison) -> Table:
    """A row a language or direction that anybody lacks utterances of."""
    entries = comparison.entries
    rows = []
    for key, utterances in comparison.references.groups.items():
        lacking = [entry.lacking.get(key) for entry in entries]
        if any(lacking):
            cells = ["not scored" if count is None else str(count) for count in lacking]
            rows.append([group_label(key), str(len(utterances)), *cells])
    names = [entry.output.name for entry in entries]
    return Table(["", "utterances", *names], rows)


def _published_sources(benchmark: Benchmark) -> str:
    lines = [
        f'Rows marked "{LABEL}": {benchmark.title} ({benchmark.convention}). Corpus release and '
        "decoding are their authors'; there are no intervals and no tests for them:",
        "",
    ]
    for row in benchmark.rows:
        line = f"- {row.name}: {row.source}; {row.status}"
        if row.average_value is not None:
            line += f"; average {row.average_value:g} over {' '.join(row.average_over)}"
        lines.append(line)
    return "\n".join(lines)
