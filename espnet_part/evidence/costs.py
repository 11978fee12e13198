"""How long a plan takes: from the times of what has run here, or else from what the plan assumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from espnet_part.evidence.plan import Cost
from espnet_part.evidence.record import Evidence, Work
from espnet_part.evidence.schedules import count_steps
from espnet_part.report.history import read_stage_times

_DEV_EXAMPLES = 300  # where dev has not been made yet
_TEST_EXAMPLES = 1000


@dataclass(frozen=True)
class Share:
    """A part of a plan.

    Attributes:
        runs, done: how many runs it has, and how many of them are through.
        steps: optimizer steps that are left; what an earlier part or another run trains is not counted.
        seconds: of one run after another.
    """

    name: str
    runs: int
    done: int
    steps: int
    seconds: float


def measured_cost(evidence: Evidence, works: Iterable[Work]) -> Cost:
    """Medians of what has run here; the plan's assumption for the rest."""
    steps, prepared, examples = [], [], []
    for space in evidence.spaces.values():
        path = space.root / "exp/prepare/stage_times.jsonl"
        if path.is_file():
            prepared.append(sum(entry["seconds"] for entry in read_stage_times(path)))
    for work in works:
        space = evidence.space(work.run)
        path = space.exp(work.run) / "stage_times.jsonl"
        for entry in read_stage_times(path) if path.is_file() else []:
            n = entry["stage"] - 6
            if n in evidence.contents(work.run):
                size = count_steps(evidence.contents(work.run)[n]) * work.run.setting.batch
                steps.append(entry["seconds"] / size)
            elif entry["stage"] == 10 and (space.root / "data" / space.test_set).is_dir():
                count = _lines(space.root / "data" / space.test_set / "text")
                examples.append(entry["seconds"] / max(1, count))
    assumed = evidence.plan.cost
    return Cost(
        prepare=median(prepared) if prepared else assumed.prepare,
        step=median(steps) if steps else assumed.step,
        example=median(examples) if examples else assumed.example,
    )


def shares(evidence: Evidence) -> tuple[Cost, list[Share]]:
    """What is left of the grid and of each question, in the order in which they run.

    Where the grid is not through, its factor nearest to 1 stands for what it will choose.
    """
    nearest = min(evidence.plan.rates, key=lambda rate: abs(rate - 1))
    chosen = {system: evidence.chosen(system) or nearest for system in evidence.systems}
    parts = {"learning rates on dev": evidence.grid_work()}
    for name, question in evidence.questions.items():
        parts[name] = evidence.question_work(question, chosen)
    cost = measured_cost(evidence, [work for works in parts.values() for work in works])
    found = [_corpora(evidence, cost)]
    counted: set[Any] = set()
    for name, works in parts.items():
        found.append(_share(evidence, name, works, cost, counted))
    return cost, found


def _corpora(evidence: Evidence, cost: Cost) -> Share:
    settings = [s for q in evidence.questions.values() for s in evidence.plan.settings_of(q)]
    names = {evidence.plan.setting.corpus, *(setting.corpus for setting in settings)}
    done = sum(evidence.spaces[name].is_prepared for name in names)
    return Share("corpora", len(names), done, 0, (len(names) - done) * cost.prepare)


def _share(
    evidence: Evidence, name: str, works: list[Work], cost: Cost, counted: set[Any]
) -> Share:
    steps, done, seconds = 0, 0, 0.0
    for work in works:
        space, before = evidence.space(work.run), seconds
        contents = evidence.contents(work.run)
        for n, content in contents.items():
            identity = evidence.identity(work.run, n)
            if identity not in counted and not evidence.is_trained(work.run, n):
                steps += count_steps(content)
                seconds += cost.step * count_steps(content) * work.run.setting.batch
            counted.add(identity)
        dev = space.root / "dump/raw" / space.valid_set / "text"
        examples = _lines(dev) if dev.is_file() else _DEV_EXAMPLES
        phases = sum(len(content["phases"]) for content in contents.values())
        wanted = 0
        if work.curve and (work.run, "curve") not in counted:
            ends = evidence.ends(work.run)
            wanted = phases - sum(evidence.is_decoded(work.run, point) for point in ends)
        if work.final and (work.run, "final") not in counted:
            wanted += not evidence.has_final(work.run)
        seconds += max(0, wanted) * examples * cost.example
        if work.test and (work.run, "test") not in counted and not evidence.is_tested(work.run):
            test = space.root / "data" / space.test_set / "text"
            seconds += cost.example * (_lines(test) if test.is_file() else _TEST_EXAMPLES)
        for what in ("curve", "final", "test"):
            if getattr(work, what):
                counted.add((work.run, what))
        done += seconds == before
    return Share(name, len(works), done, steps, seconds)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def cost_table(cost: Cost, parts: list[Share], jobs: int) -> str:
    """For the terminal."""
    lines = [f"{'':28}{'runs':>6}{'done':>6}{'steps left':>12}{'hours left':>12}"]
    for part in parts:
        hours = part.seconds / 3600
        lines.append(f"{part.name:28}{part.runs:6}{part.done:6}{part.steps:12}{hours:12.1f}")
    total = sum(part.seconds for part in parts) / 3600
    left = sum(part.steps for part in parts)
    lines.append(f"{'all':28}{'':12}{left:12}{total:12.1f}")
    lines.append(
        f"at {cost.step:.2f} s a step, {cost.example:.2f} s an example decoded and {cost.prepare:.0f} s a "
        f"corpus; {jobs} side by side, where the machine has cores for them: about {total / jobs:.1f} "
        "hours"
    )
    return "\n".join(lines)
