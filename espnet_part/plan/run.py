"""What a training says of itself: its settings, and what it has measured of each phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.errors import DataError
from espnet_part.inputs import open_input
from espnet_part.parsing import parse_json, read_yaml
from espnet_part.report.history import PhaseRun, by_phase, read_history

_LARGEST_HEADER = 100_000_000  # the bound of the safetensors library


@dataclass(frozen=True)
class Run:
    """A training's directory.

    Attributes:
        options: of its config.yaml, all defaults included.
        phases: that have had a validation, in their order.
    """

    directory: Path
    options: Mapping[str, Any]
    phases: list[PhaseRun]

    @property
    def config(self) -> str:
        """The file of its options."""
        return str(self.directory / "config.yaml")

    @property
    def on_gpu(self) -> bool:
        return bool(self.options.get("ngpu"))

    @property
    def processes(self) -> int | None:
        """How many trained; None where a launcher told only them."""
        world = self.options.get("dist_world_size")
        if isinstance(world, int):
            return world
        return None if self.options.get("distributed") else 1

    @property
    def data_stats(self) -> Path | None:
        """Where stage 5 of a recipe left what it counted of the training data."""
        files = self.options.get("train_shape_file") or []
        return Path(files[0]).parent / "mixture.json" if files else None

    def saved_parameters(self, phase: PhaseRun) -> int | None:
        """Values in the model that was kept at the end of a phase; None where it is gone.

        Raises:
            DataError: the file is damaged.
        """
        path = self.directory / f"{phase.intervals[-1].epoch}epoch.safetensors"
        return _count_values(path) if path.is_file() else None


def read_runs(directory: str | Path) -> list[Run]:
    """The training in a directory, or the chain of them in its ``stage1``, ``stage2``, …

    Raises:
        ConfigError: a config.yaml cannot be read.
        DataError: there is no training, or its history.jsonl cannot be read.
    """
    where = Path(directory)
    found = [where, *sorted(where.glob("stage*"), key=lambda path: (len(path.name), path.name))]
    trainings = [path for path in found if (path / "config.yaml").is_file()]
    if not trainings:
        raise DataError(f"{where}: holds no training: neither config.yaml nor stage1/config.yaml")
    return [_read_run(path) for path in trainings]


def _read_run(directory: Path) -> Run:
    options = read_yaml(directory / "config.yaml")
    if not isinstance(options, dict) or "phases" not in options:
        raise DataError(f"{directory}/config.yaml: is not that of a training of the task `part`")
    if not (directory / "history.jsonl").is_file():
        return Run(directory, options, [])  # ended before its first validation
    return Run(directory, options, by_phase(read_history([directory])))


def _count_values(path: Path) -> int:
    """The values of all tensors of a safetensors file, from its header."""
    try:
        with open_input(path) as file:
            size = int.from_bytes(file.read(8), "little")
            header = parse_json(file.read(min(size, _LARGEST_HEADER)).decode(), str(path))
        return sum(math.prod(t["shape"]) for n, t in header.items() if n != "__metadata__")
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise DataError(f"{path}: damaged or not a safetensors file ({error})") from None
