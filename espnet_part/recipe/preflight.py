"""What can be wrong in a recipe's options and files, found before its first stage does anything.

All stage files, the model file, prompts, decode and score configurations are read; nothing heavy is
imported. All that is wrong is told at once, a line each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from espnet_part import stage_file
from espnet_part.command import check_words
from espnet_part.config import build, load_yaml
from espnet_part.data.prompts import Prompts, language_name
from espnet_part.decode import arguments as decoding
from espnet_part.decode.arguments import BUDGET, SEARCH, read_config
from espnet_part.decode.budget import Budget
from espnet_part.decode.search import Search
from espnet_part.errors import ConfigError, UserError
from espnet_part.kaldi import iter_table
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.config import ModelConfig
from espnet_part.model.protected import check_quantized, protected
from espnet_part.model.shapes import parameter_shapes
from espnet_part.pack import arguments as packing
from espnet_part.recipe.training_options import option_errors, word_criteria, word_errors
from espnet_part.schedule.schedule import Schedule
from espnet_part.score.score_config import load_score_config
from espnet_part.train.criteria import criterion_errors

T = TypeVar("T")


class Findings:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self.lines:
                self.lines.append(line)

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What ``read`` returns; None where it finds something wrong, which is noted."""
        try:
            return read()
        except UserError as error:
            self.add(str(error).split("\n"))
            return None

    def check_file(self, option: str, path: str) -> bool:
        """Whether an option names a file; one that is not there is noted."""
        if path and not Path(path).is_file():
            self.add([f"--{option} {path}: no such file"])
        return bool(path) and Path(path).is_file()

    def raise_all(self) -> None:
        """Raise what was found.

        Raises:
            ConfigError: a line for everything that is wrong.
        """
        if self.lines:
            raise ConfigError("\n".join(self.lines))


def check_training(
    found: Findings, stages: Mapping[int, str], model_file: str, words: Sequence[str]
) -> bool:
    """Check all stage files against the model, and more options of part_train.

    Returns:
        Whether the names of the model's parameters are known, and the selectors were checked.
    """
    found.add(word_errors(words, "--part_args"))
    schedules = []
    for path in stages.values():
        values = found.attempt(partial(load_yaml, path))
        if values is None:
            continue
        found.add(option_errors(values, path))
        schedule = found.attempt(partial(stage_file.read_schedule, path))
        if schedule is not None:
            schedules.append(schedule)
            found.add(f"{path}: {error}" for error in criterion_errors(values, schedule.tasks))
            given = criterion_errors(word_criteria(words), schedule.tasks)
            found.add(f"--part_args: {error} (in {path})" for error in given)
    model = _check_model(found, model_file, schedules)
    if model is None:
        return True
    names = found.attempt(lambda: _names(model))
    if not names:
        return names is None
    for schedule in schedules:
        trainable = found.attempt(partial(schedule.resolve, names, protected(model.encoder)))
        trained = [name for phase in trainable or () for name in phase.names]
        found.attempt(partial(check_quantized, model.llm_conf, trained))
    return True


def _check_model(found: Findings, path: str, schedules: list[Schedule]) -> ModelConfig | None:
    if not path:
        found.add(["--model_config is needed: the model's YAML file"])
        return None
    if not found.check_file("model_config", path):
        return None
    config = found.attempt(partial(ModelConfig.load, path))
    if config is None:
        return None
    own_loss = ADAPTERS.conf(config.speech_adapter).OWN_LOSS
    for schedule in schedules:
        found.attempt(partial(schedule.check_losses, own_loss))
    if config.prompts is None:
        found.add([f"{path}: the key `prompts` is missing"])
    elif not Path(config.prompts).is_file():
        found.add([f"{path}: prompts: {config.prompts}: no such file"])
    else:
        prompts = found.attempt(lambda: Prompts.load(str(config.prompts)))
        for schedule in schedules if prompts is not None else ():
            for task in schedule.tasks:
                if prompts is not None and task not in prompts.wordings:
                    found.add(
                        [
                            f"{config.prompts}: has no wording for the task {task} of {schedule.where}"
                        ]
                    )
    return config


def _names(config: ModelConfig) -> list[str]:
    """The names of the model's parameters; none where they are not known by heart, or not yet."""
    for name in (getattr(config.encoder_conf, "name", None), config.llm_conf.name):
        local = name is not None and (name.startswith((".", "/")) or name.count("/") != 1)
        if local and not Path(str(name)).is_dir():  # stage 4 makes it
            return []
    return list(parameter_shapes(config) or ())


def check_decoding(found: Findings, config: str, words: Sequence[str], model_file: str) -> None:
    """Check the configuration of the search against the model, and more options of part_inference."""
    given: list[str] = []
    if found.check_file("decode_config", config):
        given = found.attempt(lambda: read_config(config)) or []
    before = len(found.lines)
    found.attempt(partial(check_words, decoding.get_parser(), words, "--inference_args"))
    if len(found.lines) == before:
        args = decoding.get_parser().parse_args([*given, *words])
        search = {key: getattr(args, key) for key in SEARCH}
        where = config or "--inference_args"
        settings = found.attempt(lambda: build(Search, search, where))
        if settings is not None and Path(model_file).is_file():
            model = found.attempt(partial(ModelConfig.load, model_file))
            if model is not None:
                hears = ADAPTERS.conf(model.speech_adapter).HEARS
                found.attempt(partial(settings.check_adapter, hears, f"{where} with {model_file}"))
        budget = {key: getattr(args, key) for key in BUDGET}
        found.attempt(lambda: build(Budget, budget, where))


def check_packing(found: Findings, words: Sequence[str]) -> None:
    """Check more options of part_pack, which comes last."""
    needed = ["--outpath", "model.zip"]
    found.attempt(partial(check_words, packing.get_parser(), [*needed, *words], "--pack_args"))


def check_scoring(found: Findings, config: str) -> None:
    """Check the settings of scoring."""
    if found.check_file("score_config", config):
        found.attempt(lambda: load_score_config(config))


def check_data(
    stages: Iterable[str], train: Path, valid: Path, warn: Callable[[str], None]
) -> None:
    """Check that the data have what all stages train on.

    A task that is trained and not validated is a warning, since best models are then chosen by others.

    Raises:
        UserError: a line for everything that is wrong.
    """
    found = Findings()
    counts = found.attempt(lambda: stage_file.count_tasks([str(train)]))
    validated = found.attempt(lambda: stage_file.count_tasks([str(valid)]))
    for path in stages:
        schedule = found.attempt(partial(stage_file.read_schedule, path))
        if schedule is None or counts is None or validated is None:
            continue
        found.attempt(partial(schedule.check_tasks, dict(counts)))
        absent = [task for task in schedule.tasks if not validated.get(task)]
        if absent:
            warn(
                f"warning: {valid} has no example of {', '.join(absent)}, which {path} trains: the "
                "best models are chosen without"
            )
    for directory in (train, valid):
        for table in ("utt2lang", "utt2tgt"):
            if (directory / table).is_file():
                for code in sorted({code for _, _, code in iter_table(directory / table)}):
                    found.attempt(partial(language_name, code))
    found.raise_all()
