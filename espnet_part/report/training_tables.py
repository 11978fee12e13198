"""Tables of a report about training: what each phase reached, and the time of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from espnet_part.document import Table
from espnet_part.errors import ConfigError
from espnet_part.parsing import read_yaml
from espnet_part.report.history import Interval


def training_table(
    histories: Mapping[str, list[Interval]], trainings: Mapping[str, Sequence[Path]]
) -> Table:
    """A row a phase, with its last losses."""
    header = ["system", "training", "seed", "phase", "steps", "train loss", "valid loss"]
    header += ["valid acc", "seconds"]
    rows = []
    for name, intervals in histories.items():
        seeds = {path.name: _seed(path / "config.yaml") for path in trainings[name]}
        start, before, started = 0, "", 0.0
        for (training, phase), group in groupby(intervals, lambda x: (x.training, x.phase)):
            *_, last = group
            if training != before:
                before, started = training, 0.0
            rows.append(
                [
                    name,
                    training,
                    seeds.get(training, ""),
                    phase,
                    str(last.step - start),
                    _shown(last.train.get("loss"))
                    + (" (the adapter's own)" if last.of_adapter else ""),
                    _shown(last.valid.get("loss")),
                    _shown(last.valid.get("acc")),
                    f"{last.seconds - started:.0f}",
                ]
            )
            start, started = last.step, last.seconds
    return Table(header, rows)


def stage_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """Seconds by stage, and their sum."""
    rows = [[str(s["stage"]), s["name"], f"{s['seconds']:.1f}"] for s in stages]
    rows.append(["", "all", f"{sum(s['seconds'] for s in stages):.1f}"])
    return Table(["stage", "name", "seconds"], rows)


def _seed(config: Path) -> str:
    """The seed in a training's config.yaml; unknown is no reason to fail."""
    try:
        content = read_yaml(config)
        return str(content.get("seed", ""))
    except (ConfigError, AttributeError):
        return ""


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
