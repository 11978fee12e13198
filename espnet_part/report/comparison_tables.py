"""Tables that lay systems beside each other: figures with intervals, paired tests, seeds.

A row is a label and the content of a score.json. One that an earlier release wrote, without
intervals, gives figures alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Protocol

from espnet_part import display
from espnet_part.display import Markup
from espnet_part.document import Block, Heading, Table
from espnet_part.score.significance import BOOTSTRAP, SACREBLEU, PairedResult
from espnet_part.tasks import by_rank, main_task

Score = Mapping[str, Any]
Rows = Sequence[tuple[str, Score]]

AVERAGES = {"bleu": "average", "bleu_into_en": "into en", "bleu_out_of_en": "out of en"}
SIGNIFICANT = 0.05
_SEED = re.compile(r"_seed(\d+)$")


@dataclass(frozen=True)
class Measure:
    """What a table shows: a task by error rate or by BLEU."""

    task: str
    name: str  # "wer" (each language by its own unit) or "bleu"

    @property
    def title(self) -> str:
        title = {"wer": "Error rates (%)", "bleu": "BLEU"}[self.name]
        return title if self.is_main else f"{title} ({self.task})"

    @property
    def is_main(self) -> bool:
        """Whether it goes without saying which task is meant."""
        usual = main_task("error_rate" if self.name == "wer" else "bleu")
        return self.task == usual.name

    def averages(self, keys: Collection[str]) -> dict[str, str]:
        """Heads of the columns of macro averages by their key in a score.json.

        One column needs no average, and directions that are all into English, or all out of it,
        have one only.
        """
        found = {
            name: head
            for name, head in (AVERAGES if self.name == "bleu" else {"wer": "average"}).items()
            if head == "average" or 0 < sum(_belongs(key, head) for key in keys) < len(keys)
        }
        return found if len(keys) > 1 else {}


class PublishedFigures(Protocol):
    """A row that was not rescored; its averages are over languages or directions of its own."""

    @property
    def name(self) -> str: ...

    @property
    def values(self) -> Mapping[str, float]: ...

    def average(self, members: Collection[str]) -> float | None:
        """The average, if it is over just these languages or directions."""


def find_measures(rows: Rows) -> list[Measure]:
    """The measures that any row has, in the order of the tasks."""
    found = {
        Measure(task, name)
        for _, score in rows
        for task, figures in score["tasks"].items()
        for name in ("wer", "bleu")
        if figures.get(name)
    }
    return sorted(found, key=lambda m: (by_rank(m.task), m.name))


def figures(score: Score, measure: Measure) -> dict[str, float | None]:
    """By language or direction."""
    return dict(score["tasks"].get(measure.task, {}).get(measure.name, {}))


def intervals(score: Score, measure: Measure) -> dict[str, tuple[float, float]]:
    """By language or direction, where the score.json has them."""
    found = score.get("intervals", {}).get(measure.task, {}).get(measure.name, {})
    return {key: (pair["low"], pair["high"]) for key, pair in found.items() if pair}


def average(score: Score, measure: Measure, name: str) -> float | None:
    return score.get("average", {}).get(measure.task, {}).get(name)


def average_interval(score: Score, measure: Measure, name: str) -> tuple[float, float] | None:
    pair = score.get("average_intervals", {}).get(measure.task, {}).get(name)
    return (pair["low"], pair["high"]) if pair else None


def _whole_average(
    score: Score, measure: Measure, name: str, members: Collection[str]
) -> float | None:
    """An average, if the score has all languages or directions that belong to it."""
    own = figures(score, measure)
    if any(own.get(key) is None for key in members):
        return None
    return average(score, measure, name)


def columns(rows: Rows, measure: Measure) -> list[str]:
    """Languages or directions of all rows."""
    return list(dict.fromkeys(key for _, score in rows for key in figures(score, measure)))


def labels(rows: Rows, measure: Measure) -> dict[str, str]:
    """Heads of columns: the unit is named where it is the character."""
    characters = {
        key for _, score in rows for key in score["tasks"].get(measure.task, {}).get("cer", {})
    }
    return {
        key: f"{key} CER" if measure.name == "wer" and key in characters else key
        for key in columns(rows, measure)
    }


def comparison_table(
    rows: Rows, measure: Measure, published: Sequence[PublishedFigures] = ()
) -> Table:
    """A row a system, a column a language or direction, then macro averages.

    A row that lacks a column has no average, since it would be over other languages.
    """
    heads = labels(rows, measure)
    averages = measure.averages(heads)
    lines = []
    for label, score in rows:
        own = figures(score, measure)
        if not own:
            continue
        ranges = intervals(score, measure)
        cells = [shown(own.get(key), ranges.get(key)) for key in heads]
        for name, head in averages.items():
            value = _whole_average(score, measure, name, [k for k in heads if _belongs(k, head)])
            cells.append(shown(value, average_interval(score, measure, name)))
        lines.append([label, *cells])
    for row in published:
        cells = [shown(row.values.get(key)) for key in heads]
        for head in averages.values():
            cells.append(shown(row.average([key for key in heads if _belongs(key, head)])))
        if any(cell != "-" for cell in cells):
            lines.append([f"{row.name} (published, not rescored)", *cells])
    return Table(["system", *heads.values(), *averages.values()], lines)


def seeds_table(rows: Rows, measure: Measure) -> Table:
    """Mean and standard deviation over systems that differ by `_seed<N>` only; no row without any."""
    groups: dict[str, list[Score]] = {}
    for label, score in rows:
        groups.setdefault(_SEED.sub("", label), []).append(score)
    heads = labels(rows, measure)
    averages = measure.averages(heads)
    lines = []
    for label, scores in groups.items():
        members = [score for score in scores if figures(score, measure)]
        if len(members) < 2:
            continue
        cells = [_spread([figures(score, measure).get(key) for score in members]) for key in heads]
        for name, head in averages.items():
            keys = [key for key in heads if _belongs(key, head)]
            cells.append(_spread([_whole_average(s, measure, name, keys) for s in members]))
        lines.append([label, str(len(members)), *cells])
    return Table(["system", "seeds", *heads.values(), *averages.values()], lines)


def paired_tables(tests: Sequence[PairedResult], level: int = 3) -> list[Block]:
    """Differences from the baseline with their intervals and p-values; a table a task and metric.

    A row is a language or direction, a column a system; less is better for error rates.
    """
    blocks: list[Block] = []
    tables: dict[tuple[str, str], list[PairedResult]] = {}
    for test in tests:
        kind = "error rate" if test.metric in ("wer", "cer") else test.metric
        tables.setdefault((test.task, kind), []).append(test)
    for (task, kind), members in tables.items():
        systems = list(dict.fromkeys(test.system for test in members))
        found = {(test.system, test.key, test.metric): test for test in members}
        places = list(dict.fromkeys((test.key, test.metric) for test in members))
        lines = []
        for key, metric in places:
            named = metric == "cer" or (key == "pooled" and metric == "wer")
            head = f"{key} {metric.upper()}" if named else key
            tests_of_row = [found.get((system, key, metric)) for system in systems]
            lines.append([head, *(_tested(test) for test in tests_of_row)])
        unit = "points of error rate (less is better)" if kind == "error rate" else kind
        if kind != "error rate":
            unit = f"points of {_METRICS.get(kind, kind)} (more is better)"
        title = f"{display.markdown(task)}: difference from "
        title += f"{display.markdown(members[0].baseline)}, in {unit}"
        blocks += [Heading(level, title), Table(["", *systems], lines)]
    return blocks


_METRICS = {"bleu": "BLEU", "chrf": "chrF", "chrf++": "chrF++"}


def paired_explanation(tests: Sequence[PairedResult]) -> str:
    """What the cells of `paired_tables` mean."""
    kinds = BOOTSTRAP
    bold = f"it is below {SIGNIFICANT}"
    if any(test.test == SACREBLEU for test in tests):
        kinds = f"{SACREBLEU} for BLEU by direction, {BOOTSTRAP} elsewhere"
        bold = f"both it and the two-sided one are below {SIGNIFICANT} (sacreBLEU's own is nearly "
        bold += "one-sided)"
    return (
        f"Difference [interval] and p-value ({kinds}). Bold where {bold}. The p-values are not "
        "corrected for the number of tests."
    )


def shown(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """A figure, and its interval in brackets."""
    if value is None:
        return "-"
    return Markup(f"{value:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else ""))


def _tested(test: PairedResult | None) -> str:
    if test is None or not math.isfinite(test.p_value):
        return "-"
    p_value = "p<0.001" if test.p_value < 0.001 else f"p={test.p_value:.3f}"
    text = f"{test.difference:+.1f} [{test.low:+.1f}, {test.high:+.1f}] {p_value}"
    # sacreBLEU's p-value is nearly one-sided: a difference stands out where both are small
    return Markup(f"**{text}**" if max(test.p_value, test.p_two_sided) < SIGNIFICANT else text)


def _spread(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    return f"{fmean(numbers):.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else "")


def _belongs(key: str, head: str) -> bool:
    """Whether a direction counts in the macro average under this head."""
    source, _, target = key.split(" ")[0].partition("-")
    return {"into en": target == "en", "out of en": source == "en"}.get(head, True)
