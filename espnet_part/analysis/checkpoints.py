"""The models of an experiment: the weights at the end of each phase of each stage."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.errors import ConfigError, DataError
from espnet_part.pack.stored import find_model, natural_order
from espnet_part.report.history import read_json_lines
from espnet_part.train.averaging import model_file, phase_ends


@dataclass(frozen=True)
class PhaseModel:
    """Trained weights, and where in the schedule they come from.

    Attributes:
        system: the experiment's name.
        stage, phase: "stage2", "encoder_top"; both empty for a model that is no experiment.
        config, weights: see `espnet_part.pack.stored.StoredModel`.
    """

    system: str
    stage: str
    phase: str
    config: Path
    weights: Path

    @property
    def name(self) -> str:
        """For tables and pictures: "stage2 encoder_top"."""
        return f"{self.stage} {self.phase}".strip() or self.system

    @property
    def key(self) -> str:
        """For names of files."""
        return "_".join(part for part in (self.stage, self.phase) if part) or "model"


def phase_models(model: str) -> list[PhaseModel]:
    """The models of an experiment in the order of training; or the one that `find_model` finds.

    Args:
        model: ``exp/part``, ``exp/part/stage2``, or what else `find_model` takes.

    Raises:
        DataError: there is none.
    """
    path = Path(model)
    stages = sorted(
        {
            config.parent
            for pattern in ("history.jsonl", "stage*/history.jsonl")
            for config in path.glob(pattern)
        },
        key=lambda directory: natural_order(directory.name),
    )
    if not stages:
        found = find_model(model)
        return [PhaseModel(path.stem or str(model), "", "", found.config, found.weights)]
    system = path.resolve().name if stages[0] != path else path.resolve().parent.name
    models = [found for stage in stages for found in _stage(system, stage)]
    if not models:
        raise DataError(f"{model}: none of its models is there any more")
    return models


def check_names(models: Sequence[PhaseModel]) -> None:
    """Refuse models that tables and files could not tell apart.

    Raises:
        ConfigError: names the two.
    """
    known: dict[str, PhaseModel] = {}
    for model in models:
        before = known.setdefault(file_name(model.system, model.key), model)
        if before is not model:
            raise ConfigError(
                f"--model: {before.weights} and {model.weights} are both called {model.system}, "
                f"{model.name}: give directories of different names (a link will do)"
            )


def file_name(*parts: str) -> str:
    """A name of a file, without suffix, of names of any kind."""
    return re.sub(r"[^\w.-]+", "_", "_".join(parts))


def _stage(system: str, directory: Path) -> list[PhaseModel]:
    path = directory / "history.jsonl"
    models = []
    try:
        ends = phase_ends(read_json_lines(path))
    except KeyError as error:
        raise DataError(f"{path}: a line lacks the field {error}") from None
    for phase, epoch in ends.items():
        weights = model_file(directory, epoch)
        if not weights.is_file():
            logging.warning(
                "%s: %s, the last model of phase %s, is gone", *(directory, weights.name, phase)
            )
            continue
        stage = directory.resolve().name
        models.append(PhaseModel(system, stage, phase, directory / "config.yaml", weights))
    return models
