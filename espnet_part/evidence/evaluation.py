"""What a run's hypotheses are worth: on the test set, and on dev at the end of each phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from espnet_part.errors import DataError
from espnet_part.evidence.plan import Measure, Run
from espnet_part.evidence.schedules import STAGES
from espnet_part.evidence.workspace import Workspace
from espnet_part.kaldi import read_table
from espnet_part.recipe.part import BEST, decode_tag
from espnet_part.report.history import read_json_lines
from espnet_part.score.counting import measure
from espnet_part.score.decoded import collect_hypotheses
from espnet_part.score.references import GroupKey, read_references
from espnet_part.score.score_config import BootstrapConfig, ScoreConfig, load_score_config
from espnet_part.score.two_level import figures_by_group, macro_average
from espnet_part.tasks import TASKS
from espnet_part.train.averaging import model_file, phase_ends

SAMPLES = 1000
BOOTSTRAP = BootstrapConfig(samples=SAMPLES)
Figures = Mapping[GroupKey, np.ndarray]
"""Of each group: its figure and that of each resample, (1 + SAMPLES,)."""


@dataclass(frozen=True)
class Point:
    """The end of a phase.

    Attributes:
        step: optimizer steps since the first stage's start.
        weights: the model there.
        out: where its hypotheses of dev go; within the stage, so that they go where it goes.
    """

    stage: int
    phase: str
    step: int
    weights: Path
    out: Path


def points(space: Workspace, run: Run) -> list[Point]:
    """The ends of all phases of a run's finished stages, in their order.

    Raises:
        DataError: a history cannot be read.
    """
    found: list[Point] = []
    before = 0
    for n in STAGES:
        directory = space.stage(run, n)
        if not space.has_ended(run, n):
            continue
        path = directory / "history.jsonl"
        history = read_json_lines(path)
        try:
            steps = {int(entry["epoch"]): before + int(entry["step"]) for entry in history}
            ends = {str(phase): int(epoch) for phase, epoch in phase_ends(history).items()}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: a line lacks a field or a number: {error!r}") from None
        for phase, epoch in ends.items():
            weights, out = model_file(directory, epoch), directory / f"dev_epoch{epoch}"
            found.append(Point(n, phase, steps[epoch], weights, out))
        before = max(steps.values(), default=before)
    return found


def final_point(space: Workspace, run: Run, last: Point) -> Point:
    """The model that part.sh decodes with, chosen on dev by its own rule; ``last`` ends the last phase."""
    directory = space.stage(run, last.stage)
    weights = directory / space.option("inference_model", BEST)
    return Point(last.stage, last.phase, last.step, weights, directory / "dev_final")


def spoken(space: Workspace) -> list[str]:
    """The ids of dev whose task hears speech; what is read has no part in the comparison."""
    tasks = read_table(space.root / "dump/raw" / space.valid_set / "utt2task")
    found = [utt for utt, task in tasks.items() if TASKS[task].speech]
    if not found:
        raise DataError(f"{space.root}: the set {space.valid_set} has no speech to decode")
    return found


def dev_figures(space: Workspace, point: Point) -> Figures | None:
    """None where it has not been decoded."""
    text = point.out / "text"
    reference = space.root / "dump/raw" / space.valid_set
    return _read_figures(reference, text, _config(space)) if text.is_file() else None


def test_text(space: Workspace, run: Run) -> Path | None:
    """What part.sh's stage 10 wrote; None where it has not."""
    tag = decode_tag(space.option("decode_config"), space.option("inference_model", BEST))
    path = space.exp(run) / tag / space.test_set / "text"
    return path if path.is_file() else None


def test_figures(space: Workspace, run: Run) -> Figures | None:
    """None where it has not been decoded. The references are those of stage 1, as part.sh's scores have."""
    text = test_text(space, run)
    if text is None:
        return None
    return _read_figures(space.root / "data" / space.test_set, text, _config(space))


def _config(space: Workspace) -> ScoreConfig:
    path = space.recipe / "conf/score.yaml"
    return load_score_config(path) if path.is_file() else ScoreConfig()


def _read_figures(ref_dir: Path, text: Path, config: ScoreConfig) -> Figures:
    stats = [path.stat() for path in (text, ref_dir / "text", ref_dir / "utt2task")]
    stamp = tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
    return _figures(ref_dir, text, config, stamp)


@cache
def _figures(ref_dir: Path, text: Path, config: ScoreConfig, stamp: object) -> Figures:
    """Args: stamp: what tells the files from others that have been there."""
    tasks = dict.fromkeys(read_table(ref_dir / "utt2task").values())
    references = read_references(ref_dir, [name for name in tasks if TASKS[name].speech])
    hypotheses = collect_hypotheses(text.parent)
    return figures_by_group(measure(references, hypotheses, config), BOOTSTRAP)


def groups_of(measure_name: Measure, found: Sequence[Figures]) -> list[GroupKey]:
    """The languages, or directions, that all of them have."""
    kind = {"wer": "error_rate", "bleu": "bleu"}[measure_name]
    common = set.intersection(*(set(figures) for figures in found)) if found else set()
    return sorted(key for key in common if TASKS[key[0]].scored_by == kind)


def averages(
    measure_name: Measure, found: Sequence[Figures], keys: Sequence[GroupKey]
) -> np.ndarray:
    """Macro averages over ``keys``, (runs, 1 + SAMPLES)."""
    return np.stack([macro_average(figures, keys) for figures in found])


def merit(figures: Figures) -> float:
    """What settings are chosen by on dev: average BLEU less average WER, both in points."""
    signs: dict[Measure, int] = {"bleu": 1, "wer": -1}
    total = 0.0
    for name, sign in signs.items():
        keys = groups_of(name, [figures])
        if keys:
            total += sign * float(macro_average(figures, keys)[0])
    return total
