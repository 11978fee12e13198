"""What charts show of scores: a panel a measure and test set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from espnet_part.report.bars import AVERAGE, Panel
from espnet_part.report.comparison_tables import (
    Measure,
    Rows,
    average_interval,
    figures,
    find_measures,
    intervals,
    labels,
)
from espnet_part.report.summary import Groups
from espnet_part.tasks import TASKS


def named_panels(groups: Groups) -> Iterator[tuple[str, Panel]]:
    """(a name such as "bleu" or "error_rates_test2", the panel) for each measure of each group."""
    for name, rows in groups:
        for measure in find_measures(rows):
            stem = {"wer": "error_rates", "bleu": "bleu"}[measure.name]
            if not measure.is_main:
                stem += f"_{measure.task}"
            yield f"{stem}_{name}" if name else stem, score_panel(rows, measure, name)


def score_panel(rows: Rows, measure: Measure, name: str = "", published: Any = ()) -> Panel:
    """What `bars` draws of one measure."""
    heads = labels(rows, measure)
    characters = any(head.endswith(" CER") for head in heads.values())
    if measure.name == "wer":
        title = "Error rate by language (lower is better)"
        unit = "WER, or CER where named (%)" if characters else "WER (%)"
    else:
        named = TASKS[measure.task].title if measure.task in TASKS else measure.task
        kind = f"{named[:1].upper()}{named[1:]}"
        title, unit = f"{kind} by direction (higher is better)", "BLEU"
    scored = [(label, score) for label, score in rows if figures(score, measure)]
    ranges = {}
    for label, score in scored:
        ranges[label] = intervals(score, measure)
        whole = average_interval(score, measure, measure.name)
        # the chart's average is over the languages that all have
        if whole and all(set(figures(s, measure)) == set(heads) for _, s in scored):
            ranges[label] = {**ranges[label], AVERAGE: whole}
    return Panel(
        f"{name}: {title[0].lower()}{title[1:]}" if name else title,
        unit,
        {label: figures(score, measure) for label, score in scored},
        ranges,
        heads,
        {row.name: row.values for row in published},
    )
