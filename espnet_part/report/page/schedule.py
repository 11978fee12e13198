"""The schedule of a system as a picture: what trains, how fast and on what, over optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from espnet_part.document import Table
from espnet_part.errors import ConfigError
from espnet_part.parsing import read_yaml
from espnet_part.report.figure import COLOURS, HATCHES, LINES, drawing, name_phases, new_figure
from espnet_part.report.history import Interval
from espnet_part.schedule.schedule import Phase, Schedule
from espnet_part.tasks import by_rank

_DARK = "#333333"
_PARTS = ("llm", "adapter", "encoder")
"""Every model has them, and each has its row and its colour in all pictures, trained or not."""
_CHARACTERS = 105
"""Characters of labels that fit over the axis."""


@dataclass(frozen=True)
class Span:
    """A phase at its place on the axis of steps."""

    training: str
    phase: Phase
    start: int
    end: int

    @property
    def shares(self) -> dict[str, float]:
        """The share of each task; equal ones stand for "by size", of which a schedule knows nothing."""
        tasks = self.phase.tasks
        weights = tasks if isinstance(tasks, dict) else dict.fromkeys(tasks, 1.0)
        total = sum(weights.values())
        return {task: weight / total for task, weight in weights.items()}

    @property
    def by_size(self) -> bool:
        """Whether tasks are mixed by their natural size."""
        return isinstance(self.phase.tasks, list) and len(self.phase.tasks) > 1

    def selectors(self, group: str) -> str:
        """What is selected of a group, "" where it does not train."""
        parts = [s for s in self.phase.train if s.split(".")[0].split("[")[0] == group]
        if parts:
            return ", ".join("all" if part == group else part[len(group) + 1 :] for part in parts)
        return "trains" if group in self.phase.lr else ""


def read_spans(paths: Sequence[Path], history: Sequence[Interval]) -> list[Span]:
    """The phases of a chain of trainings, from their config.yaml.

    Phases that are given in epochs are as long as the history says.

    Raises:
        ConfigError: a configuration cannot be read, or its phases are wrong.
    """
    taken: dict[tuple[str, str], int] = {}
    step = 0
    for key, members in groupby(history, lambda x: (x.training, x.phase)):
        *_, last = members
        taken[key] = last.step - step
        step = last.step
    spans: list[Span] = []
    for path in paths:
        config = read_yaml(path / "config.yaml")
        phases = config.get("phases") if isinstance(config, dict) else None
        for phase in Schedule.from_list(phases, str(path / "config.yaml")).phases:
            start = spans[-1].end if spans else 0
            length = phase.steps or taken.get((path.name, phase.name))
            if length is None:
                raise ConfigError(f"{path}: phase {phase.name}: nothing says how many steps it has")
            spans.append(Span(path.name, phase, start, start + length))
    return spans


def schedule_rows(spans: Sequence[Span]) -> Table:
    """The same in words."""
    rows = []
    for span in spans:
        phase, tasks = span.phase, ", ".join(span.phase.tasks)
        if span.by_size:
            tasks += " by size"
        elif len(span.shares) > 1:
            tasks = ", ".join(f"{task} {100 * share:.0f} %" for task, share in span.shares.items())
        tasks = "; ".join([tasks, *phase.languages])
        if phase.loss != "answer":
            tasks += f"; loss of the {phase.loss}"
        rates = ", ".join(f"{group} {rate:.1e}" for group, rate in phase.lr.items())
        steps = str(span.end - span.start)
        rows.append([span.training, phase.name, steps, ", ".join(phase.train), tasks, rates])
    header = ["training", "phase", "steps", "trains", "tasks", "peak learning rates"]
    return Table(header, rows)


@drawing
def draw_schedule(spans: Sequence[Span]) -> Any:
    """Three rows over steps: what trains of each part, peak learning rates, the mixture of tasks."""
    groups = [*_PARTS, *sorted({g for span in spans for g in span.phase.lr} - {*_PARTS})]
    figure, (trains, rates, mixture) = new_figure(
        3,
        1,
        figsize=(9, 3.4 + 0.42 * len(groups)),
        sharex=True,
        height_ratios=[0.5 + 0.42 * len(groups), 1.5, 1.1],
    )
    last = spans[-1].end
    _draw_trained(trains, spans, groups, last)
    _draw_rates(rates, spans, groups)
    _draw_mixture(mixture, spans, last)
    for axis in (trains, rates, mixture):
        for span in spans[:-1]:
            axis.axvline(span.end, color="#555555", linewidth=0.9, linestyle=":")
        axis.set_xlim(0, last)
    mixture.set_xlabel("optimizer steps")
    phases = [(span.training, span.phase.name, span.start, span.end) for span in spans]
    name_phases(trains, phases, last, _CHARACTERS)
    return figure


def _draw_trained(axis: Any, spans: Sequence[Span], groups: Sequence[str], last: int) -> None:
    for row, group in enumerate(groups):
        for span in spans:
            selected, width = span.selectors(group), span.end - span.start
            colour = COLOURS[row % len(COLOURS)] if selected else "#FFFFFF"
            axis.barh(
                row,
                width,
                left=span.start,
                height=0.7,
                color=colour,
                alpha=0.35 if selected else 1.0,
                edgecolor=_DARK if selected else "#BBBBBB",
                linewidth=0.8,
            )
            text = selected or "frozen"
            if len(text) <= _CHARACTERS * width / last:
                axis.text(
                    (span.start + span.end) / 2,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="#000000" if selected else "#666666",
                )
    axis.set_yticks(range(len(groups)), groups)
    axis.set_ylim(-0.6, len(groups) - 0.4)
    axis.set_ylabel("what trains")


def _draw_rates(axis: Any, spans: Sequence[Span], groups: Sequence[str]) -> None:
    for number, group in enumerate(groups):
        label: str | None = group
        for span in spans:
            rate = span.phase.lr.get(group)
            if rate is None:
                continue
            axis.plot(
                [span.start, span.end],
                [rate, rate],
                LINES[number % len(LINES)],
                color=COLOURS[number % len(COLOURS)],
                linewidth=2.4,
                label=label,
            )
            label = None
    axis.set_yscale("log")
    axis.margins(y=0.25)
    shown: list[float] = []
    for rate in sorted({rate for span in spans for rate in span.phase.lr.values()}):
        if not shown or rate > 1.4 * shown[-1]:
            shown.append(rate)
    axis.set_yticks(shown, [f"{rate:.1e}" for rate in shown])
    axis.minorticks_off()
    axis.set_ylabel("peak rate")
    axis.grid(True, axis="y", color="#D9D9D9", linewidth=0.6)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _draw_mixture(axis: Any, spans: Sequence[Span], last: int) -> None:
    tasks = sorted({task for span in spans for task in span.phase.tasks}, key=by_rank)
    named: set[str] = set()
    for span in spans:
        bottom = 0.0
        for task in tasks:
            share = span.shares.get(task)
            if share is None:
                continue
            number = tasks.index(task)
            axis.bar(
                span.start,
                100 * share,
                span.end - span.start,
                bottom,
                align="edge",
                color=COLOURS[(number + 4) % len(COLOURS)],
                alpha=0.45,
                hatch=HATCHES[number % len(HATCHES)],
                edgecolor=_DARK,
                linewidth=0.6,
                label=None if task in named else task,
            )
            named.add(task)
            bottom += 100 * share
        if span.by_size and len("by size") <= _CHARACTERS * (span.end - span.start) / last:
            middle = (span.start + span.end) / 2
            box = {"facecolor": "#FFFFFF", "edgecolor": "none", "pad": 1.5}
            axis.text(middle, 50, "by size", ha="center", va="center", fontsize=8, bbox=box)
    axis.set_ylim(0, 100)
    axis.set_yticks([0, 50, 100])
    axis.set_ylabel("tasks (%)")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def alike(
    spans: Mapping[str, list[Span]],
) -> list[tuple[list[str], list[Span]]]:
    """Systems by their schedule, in order: those that differ in their seeds alone share one."""
    found: list[tuple[list[str], list[Span]]] = []
    for name, own in spans.items():
        for names, other in found:
            if own == other:
                names.append(name)
                break
        else:
            found.append(([name], own))
    return found
