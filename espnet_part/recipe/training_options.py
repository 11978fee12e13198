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

from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.parsing import parse_yaml
from espnet_part.recipe.options import split_options
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
_POSITIVE = ("batch_bins", "batch_size", "accum_grad", "num_iters_per_epoch", "keep_checkpoints")
_LIMITS = ("max_bins_per_gpu", "max_batch_size_per_gpu", "log_interval")
_COUNTS = ("num_workers", "seed", "ngpu", "save_interval")
_TEXTS = ("", "str", "str_or_none")
_NONE = ("none", "null", "nil")
_TRUTH = {
    **dict.fromkeys(("y", "yes", "t", "true", "on", "1"), True),
    **dict.fromkeys(("n", "no", "f", "false", "off", "0"), False),
}


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        kind: the name of its type (a key of ``_KINDS``, or another).
        choices: what it may be; empty for anything.
        many: whether it takes a list of values.
        may_lack: whether null stands for not giving it.
        without_effect: whether this task does not follow it; ``default`` is then all that it may be.
    """

    kind: str = ""
    choices: tuple[Any, ...] = ()
    many: bool = False
    may_lack: bool = False
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
        many = action.nargs not in (None, "?", 0)
        may_lack = action.default is None
        options[action.dest] = Option(kind, tuple(action.choices or ()), many, may_lack)
    return options


def _declared() -> dict[str, Option]:
    found = {"config": Option()}
    spec = importlib.util.find_spec("espnet2")
    if spec is None or not spec.submodule_search_locations:
        return found
    source = Path(spec.submodule_search_locations[0], "tasks/abs_task.py").read_text("utf-8")
    tree = ast.parse(source)
    classes = _classes(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "add_argument" or not node.args:
            continue
        keywords = {word.arg: word.value for word in node.keywords}
        kind = keywords.get("type")
        shown = ast.unparse(kind) if kind else ""
        action = keywords.get("action")
        many = "nargs" in keywords or (action is not None and ast.unparse(action) == "'append'")
        option = Option(shown, _choices(keywords.get("choices"), classes), many)
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


def _classes(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """The keys of ESPnet's dictionaries of classes, such as ``optim_classes``, as it has them here."""
    found: dict[str, tuple[str, ...]] = {}

    def read(statements: Sequence[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.Try):
                imported = [
                    name.name for n in node.body if isinstance(n, ast.Import) for name in n.names
                ]
                if all(importlib.util.find_spec(name) for name in imported):
                    read(node.body)
            elif isinstance(node, ast.If):
                read(node.body)
            elif isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Call):
                call = node.value
                if isinstance(node, ast.Assign) and ast.unparse(call.func) == "dict":
                    name = ast.unparse(node.targets[0])
                else:
                    name, _, method = ast.unparse(call.func).rpartition(".")
                    if method != "update" or name not in found:
                        continue
                added = (word.arg.lower() for word in call.keywords if word.arg)
                found[name] = (*found.get(name, ()), *added)

    read(tree.body)
    return found


def _choices(node: ast.expr | None, classes: dict[str, tuple[str, ...]]) -> tuple[Any, ...]:
    """The values of a literal, of ``list(optim_classes)``, or of a sum of both; none if not known."""
    if node is None:
        return ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [_choices(side, classes) for side in (node.left, node.right)]
        return (*parts[0], *parts[1]) if all(parts) else ()
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "list" and node.args:
        return classes.get(ast.unparse(node.args[0]), ())
    try:
        return tuple(ast.literal_eval(node))
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
        several = option.many and isinstance(value, list | tuple)
        errors += [
            f"{where}: {key}: {error}"
            for one in (value if several else [value])
            if (error := _error(key, one, option))
        ]
        if key.endswith("_conf") and not isinstance(value, dict | type(None)):
            errors.append(f"{where}: {key}: must be a mapping of keys: {value!r}")
        elif option.without_effect and value not in (option.default, None):
            mend = f"; {MENDS[key]}" if key in MENDS else ""
            errors.append(f"{where}: {key}: {value!r} would have no effect for this task{mend}")
    return errors


def _error(key: str, value: Any, option: Option) -> str:
    """What is wrong with one value; nothing if it is empty."""
    if value is None and option.may_lack:
        return ""
    kinds, said = _KINDS.get(option.kind, ((), ""))
    if isinstance(value, bool) and kinds:
        wrong_kind = bool not in kinds
    else:
        wrong_kind = bool(kinds) and not isinstance(value, kinds)
    if wrong_kind:
        return f"must be {said}: {value!r}"
    if option.choices and not any(v in option.choices for v in (value, _read(value, option.kind))):
        return f"must be one of {', '.join(map(str, option.choices))}: {value!r}"
    if key in (*_POSITIVE, *_LIMITS) and isinstance(value, int | float) and value < 1:
        return f"must be at least 1: {value}"
    if key in _COUNTS and isinstance(value, int) and value < 0:
        return f"must not be negative: {value}"
    return ""


def _read(value: Any, kind: str) -> Any:
    """A value of a choice as ESPnet's types read it."""
    if isinstance(value, str):
        if "str_or_none" in kind and value.lower() in _NONE:
            return None
        if ".lower()" in kind:
            return value.lower()
        if ".upper()" in kind:
            return value.upper()
    return value


def word_errors(words: Sequence[str], where: str) -> list[str]:
    """What is wrong with more options on the command line: their names, and their values."""
    known = training_options()
    options, before = split_options(words)
    errors = [f"{where}: {word}: belongs to no option" for word in before]
    for name, texts in options:
        if name not in known:
            if name:
                errors.append(f"{where}: {did_you_mean(name, sorted(known))}")
        elif name.endswith("_conf"):
            errors += _conf_errors(name, texts, where)
        elif known[name].kind in (*_KINDS, *_TEXTS) or known[name].choices:
            option = known[name]
            if option.kind in _KINDS and not texts:
                errors.append(f"{where}: {name}: needs a value")
            elif len(texts) > 1 and not option.many:
                errors.append(f"{where}: {name}: takes one value: {' '.join(texts)}")
            elif texts:
                values = [_converted(text, option.kind) for text in texts]
                errors += option_errors({name: values if option.many else values[0]}, where)
    return errors


def word_criteria(words: Sequence[str]) -> dict[str, Any]:
    """The criteria among more options on the command line, as a stage file has them."""
    found: dict[str, Any] = {}
    for name, texts in split_options(words)[0]:
        if name == "val_scheduler_criterion":
            found[name] = texts
        elif name == "best_model_criterion":
            parts = [text.strip("()[]").split(",") for text in texts]
            found[name] = [[part.strip(" \"'") for part in three] for three in parts]
    return found


def _conf_errors(name: str, texts: Sequence[str], where: str) -> list[str]:
    """Of an option that takes ``key=value`` or a mapping in YAML."""
    try:
        for text in texts:
            value = text if text.startswith("{") else text.partition("=")[2]
            parse_yaml(value, f"{where}: {name}")
    except ConfigError as error:
        return [str(error)]
    return []


def _converted(text: str, kind: str) -> Any:
    """The text of an option by its type; as it is where it is of no such type, which is then told."""
    if kind.endswith("_or_none"):
        if text.lower() in _NONE:
            return None
        kind = kind.removesuffix("_or_none")
    if kind == "str2bool":
        return _TRUTH.get(text.lower(), text)
    try:
        return {"int": int, "float": float}[kind](text)
    except (KeyError, ValueError):
        return text
