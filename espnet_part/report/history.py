"""Reading what a recipe leaves: training histories and stage times, one JSON object a line."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
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
        seconds: wall time since the start of its training.
        memory: GB taken at most so far: of the "process", and of the "gpu".
    """

    training: str
    phase: str
    step: int
    train: dict[str, float]
    valid: dict[str, float]
    seconds: float
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def of_adapter(self) -> bool:
        """Whether the loss of training is the adapter's own, in a phase that does not run the LLM."""
        return "loss" in self.train and "acc" not in self.train and "acc" in self.valid


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
