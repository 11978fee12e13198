"""The options that a stage file may hold, without ESPnet's imports, which take seconds.

ESPnet declares them in the source of its trainer, which is read here, not run.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.config import did_you_mean
from espnet_part.train.arguments import (
    FOLLOWED,
    MENDS,
    add_data_arguments,
    add_model_arguments,
    add_trainer_arguments,
)

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "int_or_none": ((int, type(None)), "a whole number"),
    "float": ((int, float), "a number"),
    "float_or_none": ((int, float, type(None)), "a number"),
    "str2bool": ((bool,), "true or false"),
}
_POSITIVE = ("batch_bins", "batch_size", "accum_grad", "num_iters_per_epoch", "save_interval")
_LIMITS = ("max_bins_per_gpu", "max_batch_size_per_gpu", "log_interval")
_COUNTS = ("num_workers", "seed", "ngpu")


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        kind: the name of its type (a key of ``_KINDS``, or another).
        choices: what it may be; empty for anything.
        without_effect: whether this task does not follow it; ``default`` is then all that it may be.
    """

    kind: str = ""
    choices: tuple[Any, ...] = ()
    without_effect: bool = False
    default: Any = None


@functools.cache
def training_options() -> dict[str, Option]:
    """Every option of part_train by its name."""
    parser = argparse.ArgumentParser(add_help=False)
    for add in (add_model_arguments, add_data_arguments, add_trainer_arguments):
        add(parser)
    options = _declared()
    for action in parser._actions:
        kind = getattr(action.type, "__name__", "")
        options[action.dest] = Option(kind, tuple(action.choices or ()))
    return options


def _declared() -> dict[str, Option]:
    found = {"config": Option()}
    spec = importlib.util.find_spec("espnet2")
    if spec is None or not spec.submodule_search_locations:
        return found
    source = Path(spec.submodule_search_locations[0], "tasks/abs_task.py").read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "add_argument" or not node.args:
            continue
        keywords = {word.arg: word.value for word in node.keywords}
        kind = keywords.get("type")
        shown = ast.unparse(kind) if kind else ""
        option = Option(shown, _literals(keywords.get("choices")))
        default = keywords.get("default", ast.Constant(None))
        literal = isinstance(default, ast.Constant | ast.List | ast.Dict | ast.Tuple)
        for name in node.args:
            # f"--optim{suf}_conf": of the first of several, which has no suffix
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            text = "".join(str(p.value) for p in parts if isinstance(p, ast.Constant))
            if not text.startswith("--"):
                continue
            found[text[2:]] = option
            # a default that is computed is not known here; part_train itself refuses what differs
            if text[2:] not in FOLLOWED and literal:
                found[text[2:]] = dataclasses.replace(
                    option, without_effect=True, default=ast.literal_eval(default)
                )
    return found


def _literals(node: ast.expr | None) -> tuple[Any, ...]:
    try:
        return tuple(ast.literal_eval(node)) if node is not None else ()
    except (ValueError, TypeError):
        return ()


def option_errors(values: dict[Any, Any], where: str) -> list[str]:
    """What is wrong with options of a training: unknown ones, wrong kinds, those without effect."""
    known, errors = training_options(), []
    for key, value in values.items():
        if not isinstance(key, str) or key not in known:
            errors.append(f"{where}: {did_you_mean(str(key), sorted(known))}")
            continue
        option = known[key]
        kinds, said = _KINDS.get(option.kind, ((), ""))
        if isinstance(value, bool) and kinds:
            wrong_kind = bool not in kinds
        else:
            wrong_kind = bool(kinds) and not isinstance(value, kinds)
        if wrong_kind:
            errors.append(f"{where}: {key}: must be {said}: {value!r}")
        elif option.choices and value not in option.choices:
            allowed = ", ".join(map(str, option.choices))
            errors.append(f"{where}: {key}: must be one of {allowed}: {value!r}")
        elif key in (*_POSITIVE, *_LIMITS) and isinstance(value, int) and value < 1:
            errors.append(f"{where}: {key}: must be at least 1: {value}")
        elif key in _COUNTS and isinstance(value, int) and value < 0:
            errors.append(f"{where}: {key}: must not be negative: {value}")
        elif key.endswith("_conf") and not isinstance(value, dict | type(None)):
            errors.append(f"{where}: {key}: must be a mapping of keys: {value!r}")
        elif option.without_effect and value not in (option.default, None):
            mend = f"; {MENDS[key]}" if key in MENDS else ""
            errors.append(f"{where}: {key}: {value!r} would have no effect for this task{mend}")
    return errors


def word_errors(words: Sequence[str], where: str) -> list[str]:
    """What is wrong with more options on the command line: those that do not exist."""
    known, errors = training_options(), []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name = word[2:].partition("=")[0]
            if name not in known:
                errors.append(f"{where}: {did_you_mean(name, sorted(known))}")
    return errors
