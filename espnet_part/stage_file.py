"""A stage file: read, and checked against its model and its training data.

For every command that takes one; takes a second, since it imports neither torch nor ESPnet. What a
whole recipe checks before its first stage is in `espnet_part.recipe.preflight`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.kaldi import iter_table
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.config import ModelConfig
from espnet_part.model.protected import check_quantized, protected
from espnet_part.model.shapes import model_shapes
from espnet_part.schedule.schedule import Schedule
from espnet_part.tasks import TASKS

Shapes = dict[str, tuple[int, ...]]


def read_schedule(path: str) -> Schedule:
    """The schedule of a stage file.

    Raises:
        ConfigError: names the file, the phase, the key and the mend.
    """
    stage = load_yaml(path)
    if "phases" not in stage:
        raise ConfigError(f"{path}: the key `phases` is missing; is it a stage file?")
    schedule = Schedule.from_list(stage["phases"], path)
    for phase in schedule.phases:
        for task in phase.tasks:
            if task not in TASKS:
                raise ConfigError(f"{path}: phase {phase.name}: tasks: {did_you_mean(task, TASKS)}")
    return schedule


def read_shapes(path: str) -> tuple[Shapes, tuple[str, ...]]:
    """Names and shapes of the parameters of the model that a model file describes, and prefixes of
    those that train only where a selector names them outright.

    Raises:
        ConfigError: from the model file.
    """
    return _shapes(ModelConfig.load(path))


def count_tasks(directories: Sequence[str]) -> Counter[str]:
    """The number of examples by task in data directories, from their ``utt2task`` alone.

    Raises:
        DataError: a directory without a readable ``utt2task``.
    """
    counts: Counter[str] = Counter()
    for directory in directories:
        table = iter_table(Path(directory) / "utt2task", lambda *bad: None)  # named by stage 3
        counts.update(task for _, _, task in table if task)
    return counts


def check(stage: str, model: str, data_dirs: Sequence[str]) -> None:
    """Check a stage against its model and its training data.

    Raises:
        UserError: the first thing that is wrong.
    """
    schedule = read_schedule(stage)
    config = ModelConfig.load(model)
    shapes, spared = _shapes(config)
    trainable = schedule.resolve(list(shapes), spared)
    check_quantized(config.llm_conf, (name for phase in trainable for name in phase.names))
    schedule.check_losses(ADAPTERS.conf(config.speech_adapter).OWN_LOSS)
    schedule.check_tasks(count_tasks(data_dirs))


def _shapes(config: ModelConfig) -> tuple[Shapes, tuple[str, ...]]:
    return model_shapes(config), protected(config.encoder)
