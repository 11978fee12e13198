"""What a report is made of, read once from what a recipe's stages left on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.report.history import Interval, read_history, read_stage_times
from espnet_part.report.paired_tests import compare_scored
from espnet_part.report.summary import Groups
from espnet_part.report.systems import System, side_by_side
from espnet_part.score.significance import PairedResult


@dataclass(frozen=True)
class Results:
    """All that RESULTS.md, results.json and report.html show.

    Attributes:
        notes: paragraphs for the beginning.
        systems: the first one is the recipe's own, and the baseline of paired tests.
        groups: their scores side by side.
        tests: paired tests by test set.
        lacking: why tests are lacking.
        trainings: directories with a history.jsonl by name; several are a chain of stages.
        histories: of the trainings, by name.
        stages: times of the recipe's stages.
    """

    title: str
    notes: Sequence[str]
    systems: Sequence[System]
    groups: Groups
    tests: Mapping[str, Sequence[PairedResult]]
    lacking: Sequence[str]
    trainings: Mapping[str, Sequence[Path]]
    histories: Mapping[str, list[Interval]]
    stages: Sequence[Mapping[str, Any]]


def read_results(
    systems: Sequence[System],
    trainings: Mapping[str, Sequence[Path]],
    stage_times: Path | None = None,
    title: str = "RESULTS",
    notes: Sequence[str] = (),
    paired: bool = True,
) -> Results:
    """Read histories and times, and make the paired tests.

    Args:
        stage_times: lines {"stage", "name", "seconds"} of the recipe.
        paired: whether to make the paired tests, which need the hypotheses and references.

    Raises:
        DataError: a history or the times cannot be read.
    """
    tests, lacking = compare_scored(systems) if paired else ({}, [])
    return Results(
        title=title,
        notes=notes,
        systems=systems,
        groups=side_by_side(systems) if systems else [],
        tests=tests,
        lacking=lacking,
        trainings=trainings,
        histories={name: read_history(list(paths)) for name, paths in trainings.items()},
        stages=read_stage_times(stage_times) if stage_times and stage_times.is_file() else [],
    )
