"""What each stage of a schedule is to hear of the data, shown before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_part.config import load_yaml
from espnet_part.data.mixture_table import stage_mixture
from espnet_part.errors import ConfigError
from espnet_part.model.config import ModelConfig
from espnet_part.parsing import parse_yaml
from espnet_part.plan.data import read_data
from espnet_part.plan.operations import describe_model
from espnet_part.plan.plan import plan_mixture, read_batching
from espnet_part.recipe.options import split_options
from espnet_part.stage_file import read_schedule

_PADDING = 0.05
_SIZES = ("batch_type", "batch_bins", "batch_size", "accum_grad", "encoder_cost")


def expected_mixtures(
    stats: Path, stage_files: Iterable[str], model_file: str, words: Sequence[str]
) -> str:
    """A table a stage, by (task, language, target language).

    Args:
        stats: the training set's ``mixture.json``.
        words: more options of part_train.

    Returns:
        The tables, or a line that says why nobody can know them before the trainings.

    Raises:
        UserError: a phase with limits that cannot be kept.
    """
    data = read_data(stats)
    given = {
        name: parse_yaml(" ".join(texts), f"--part_args: {name}")
        for name, texts in split_options(words)[0]
        if name in _SIZES
    }
    paths = list(stage_files)
    try:
        rates = describe_model(ModelConfig.load(model_file)).rates
        batching = {p: read_batching(p, {**load_yaml(p), **given}, 1, _PADDING) for p in paths}
    except ConfigError as error:
        return f"What the stages are to hear is told when they begin, not here: {error}"
    tables = []
    for path in paths:
        phases = read_schedule(path).phases
        mixtures = [
            plan_mixture(f"{path}: phase {p.name}", p, rates, data, batching[path]) for p in phases
        ]
        tables.append(stage_mixture(path, [mixture for mixture in mixtures if mixture]))
    return "\n\n".join(tables)
