"""Reading what a recipe leaves: training histories and stage times, one JSON object a line."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.parsing import parse_json


@dataclass(frozen=True)
class Interval:
    """One line of a history.jsonl: what was measured at a validation.

    Attributes:
        step: optimizer steps so far; over a chain of trainings it goes on counting.
        train, valid: measures by name ("loss", "acc", "loss_asr", …).
        seconds: that the steps of its training have taken so far.
        memory: GB taken at most so far: of the "process", and of the "gpu".
        epoch: number of the validation.
    """

    training: str
    phase: str
    step: int
    train: dict[str, float]
    valid: dict[str, float]
    seconds: float
    memory: dict[str, float] = field(default_factory=dict)
    epoch: int = 0

    @property
    def of_adapter(self) -> bool:
        """Whether the loss of training is the adapter's own, in a phase that does not run the LLM."""
        return "loss" in self.train and "acc" not in self.train and "acc" in self.valid


@dataclass(frozen=True)
class PhaseRun:
    """The intervals of a phase, as far as it has come.

    Attributes:
        lengths: steps of each interval.
        seconds: that its steps took together.
    """

    training: str
    phase: str
    intervals: Sequence[Interval]
    lengths: Sequence[int]
    seconds: float

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return sum(self.lengths)

    def mean(self, key: str) -> float:
        """The mean of a measure over steps; NaN where no interval has it."""
        pairs = zip(self.intervals, self.lengths, strict=True)
        known = [(x.train[key], n) for x, n in pairs if key in x.train]
        total = sum(n for _, n in known)
        return sum(value * n for value, n in known) / total if total else math.nan

    @property
    def process_memory(self) -> float:
        """GB that a process had taken at most when the phase ended; NaN where unknown."""
        return _most(x.memory.get("process", math.nan) for x in self.intervals)

    @property
    def gpu_memory(self) -> float:
        """The same of a GPU: what this package has measured, or ESPnet."""
        return _most(
            x.memory.get("gpu", x.train.get("gpu_max_cached_mem_GB", math.nan))
            for x in self.intervals
        )


def by_phase(intervals: Iterable[Interval]) -> list[PhaseRun]:
    """The phases of one training, or of a chain of them, in their order."""
    phases, step, training, started = [], 0, "", 0.0
    for (own, phase), members in groupby(intervals, lambda x: (x.training, x.phase)):
        group, lengths = list(members), []
        if own != training:
            training, started = own, 0.0
        for interval in group:
            lengths.append(interval.step - step)
            step = interval.step
        phases.append(PhaseRun(own, phase, group, lengths, group[-1].seconds - started))
        started = group[-1].seconds
    return phases


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """JSON objects, one a line. A damaged line, as a killed job leaves it, is named and skipped.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    objects = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = parse_json(line, str(path))
        except ConfigError:
            item = None
        if isinstance(item, dict):
            objects.append(item)
        else:
            logging.warning("%s: line %d is damaged and left out", path, number)
    return objects


def read_history(directories: list[Path]) -> list[Interval]:
    """The histories of one training, or of a chain in which each starts from the one before.

    A training that was resumed may have written an interval twice: the last one counts.

    Raises:
        DataError: a directory has no readable history.jsonl, or a line lacks a field.
    """
    intervals: list[Interval] = []
    for directory in directories:
        offset = intervals[-1].step if intervals else 0
        by_step: dict[int, Interval] = {}
        path = directory / "history.jsonl"
        for item in read_json_lines(path):
            try:
                step = int(item["step"])
                by_step[step] = Interval(
                    training=directory.name,
                    phase=str(item["phase"]),
                    step=step + offset,
                    train=_numbers(item.get("train")),
                    valid=_numbers(item.get("valid")),
                    seconds=float(item.get("seconds") or 0.0),
                    memory=_numbers(item.get("memory")),
                    epoch=int(item.get("epoch") or 0),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}: a line lacks a field or a number: {error!r}") from None
        intervals += [by_step[step] for step in sorted(by_step)]
    return intervals


def _numbers(values: Any) -> dict[str, float]:
    return {
        str(key): float(value)
        for key, value in (values or {}).items()
        if isinstance(value, int | float)
    }


def _most(values: Iterable[float]) -> float:
    """The largest of those that are known; NaN where none is."""
    return max(filter(math.isfinite, values), default=math.nan)


def read_stage_times(path: Path) -> list[dict[str, Any]]:
    """The recipe's stages as [{"stage", "name", "seconds"}] by number; the last run of one counts.

    Raises:
        DataError: the file cannot be read.
    """
    latest: dict[int, dict[str, Any]] = {}
    for item in read_json_lines(path):
        try:
            stage = int(item["stage"])
            latest[stage] = {
                "stage": stage,
                "name": str(item["name"]),
                "seconds": float(item["seconds"]),
            }
        except (KeyError, TypeError, ValueError):
            logging.warning("%s: left out: %s", path, item)
    return [latest[stage] for stage in sorted(latest)]
