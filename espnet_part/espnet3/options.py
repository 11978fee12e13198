"""A stage of ESPnet 3 in the words of part.sh."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.recipe.part import PartOptions

_TRAINED = {"skip_data_prep": "true", "skip_train": "true"}
_PACK = {**_TRAINED, "skip_eval": "true", "skip_packing": "false"}

#: ESPnet 3's stages as ranges of part.sh's, in which what is done already is not done again.
STAGES = {
    "create_dataset": {"stop_stage": "3"},
    "collect_stats": {"stop_stage": "6"},
    "train": {"skip_data_prep": "true", "stop_stage": "9"},
    "infer": {**_TRAINED, "stop_stage": "10"},
    "measure": {**_TRAINED, "stop_stage": "11"},
    "pack_model": _PACK,
    "upload_model": _PACK,
}

#: What ESPnet 3 has keys of its own for, and part.sh's names of them.
NAMED = {"num_device": "ngpu", "num_nodes": "num_nodes", "seed": "seed"}

#: Keys of every role; ESPnet 3 copies the training's experiment to the others.
_KEYS = ("part", "exp_tag", "exp_dir")
_SET_HERE = {
    *("command", "python", "stage", "stop_stage", "detach", "expdir", "part_tag"),
    *("skip_data_prep", "skip_train", "skip_eval", "skip_packing"),
    *("prep_cmd", "train_cmd", "cuda_cmd", "decode_cmd", "cmd_backend"),  # cmd.sh's
    *NAMED.values(),
}
_OPTIONS = [field.name for field in fields(PartOptions) if field.name not in _SET_HERE]


def part_words(stage: str, configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The arguments with which part.sh does a stage.

    Args:
        stage: a name of ``STAGES``.
        configs: ESPnet 3's configurations by their roles, resolved; ``training`` must be among them.
            The section ``part`` of each holds options of part.sh; a later role's are laid over.

    Raises:
        ConfigError: a key that is not read, a value that is no word, or no place to upload to.
    """
    options: dict[str, str] = {}
    for role, config in configs.items():
        known = [*_KEYS, "recipe_dir", *NAMED] if role == "training" else [*_KEYS]
        for key in config:
            if key not in known:
                raise ConfigError(f"{role} config: {did_you_mean(str(key), known)}")
        options |= _read(config.get("part"), role)
    training = configs["training"]
    for key, option in NAMED.items():
        options[option] = _word(training[key], f"training config: {key}")
    if stage == "pack_model":
        options.pop("hf_repo", None)
    elif stage == "upload_model" and not options.get("hf_repo"):
        raise ConfigError("publication config: part: hf_repo is missing: owner/name on the hub")
    experiment = PurePath(training["exp_dir"])
    options["expdir"] = os.path.relpath(experiment.parent, training["recipe_dir"])
    options |= {"part_tag": experiment.name, **STAGES[stage]}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _read(section: Any, role: str) -> dict[str, str]:
    """The options of a section ``part``; those without a value keep part.sh's."""
    where = f"{role} config: part"
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: must be options of part.sh with their values")
    espnet3 = {option: key for key, option in NAMED.items()}
    for name in section:
        if name in espnet3:
            raise ConfigError(
                f"{where}: {name} is ESPnet 3's {espnet3[name]}, beside `part` in the training config"
            )
        if name not in _OPTIONS:
            raise ConfigError(f"{where}: {did_you_mean(str(name), _OPTIONS)}")
    return {n: _word(v, f"{where}: {n}") for n, v in section.items() if v is not None}


def _word(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        return " ".join(_word(item, where) for item in value)
    raise ConfigError(f"{where}: must be text, a number or a list, not {type(value).__name__}")
