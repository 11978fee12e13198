"""Changes to the phases of a stage file: how one system is written as a few words about another.

A stage file with a ``base`` gives ``phases`` as a mapping {phase name: change}. A change holds keys that
replace the phase's own, and these words, which take values from other phases instead of copying them, so
that a system follows the recipe whose system it is compared with:

``steps_of: [FILE …]``     the sum of their steps
``mixture_of: FILE``       the tasks of its phases, by their steps, and the first temperature and limits
``lr_of: [FILE …]``        the rate of each group in the first of their phases that trains it
``without: [GROUP …]``     no selector and no rate of these groups

FILE is a stage file, relative to the one that names it, or ``FILE:PHASE`` for one phase of it. A change of
null drops the phase, a key of null the key, which then has its default. ``"*"`` is every phase that the
mapping does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from espnet_part.display import plain, value
from espnet_part.errors import ConfigError, did_you_mean

Phase = dict[str, Any]
#: The phases of a stage file, by the name that a change gives it.
Find = Callable[[str], list[Phase]]
ALL = "*"
_OF_LANGUAGES = ("language_temperature", "max_epochs", "min_share")


def change_phases(
    base: list[Any], changes: Mapping[str, Any], where: str, find: Find
) -> list[Phase]:
    """Lay the ``changes`` of the file ``where`` over the phases of its base.

    Args:
        base: the phases, in order; a changed phase keeps its place, a new one comes last.
        find: gives the phases of another stage file.

    Raises:
        ConfigError: a phase without a name, a change that is none, a phase that is not there.
    """
    phases = {phase["name"]: phase for phase in named(base, f"{where}: its `base`")}
    _check_without(changes, phases, where)
    named_here = [name for name in changes if name != ALL]
    if ALL in changes:
        others = {name: changes[ALL] for name in phases if name not in named_here}
        changes = {**others, **{name: changes[name] for name in named_here}}
    for name, change in changes.items():
        here = f"{where}: phases: {plain(name, 60)}"
        if change is None:
            if phases.pop(name, None) is None:
                raise ConfigError(f"{where}: phases: {did_you_mean(name, phases)}")
        elif not isinstance(change, dict):
            raise ConfigError(f"{here}: must be a mapping of keys, not {value(change)}")
        else:
            # a phase's task mixture and trainable set are replaced as a whole, not key by key
            phases[name] = _changed(phases.get(name, {"name": name}), change, here, find)
    return list(phases.values())


def _check_without(changes: Mapping[str, Any], phases: Mapping[str, Phase], where: str) -> None:
    """A group that trains nowhere cannot be left out: the system would be no other."""
    for name, change in changes.items():
        groups = change.get("without") if isinstance(change, dict) else None
        meant = [phases[name]] if name in phases else list(phases.values())
        trained = {_group(s) for p in meant for s in _list(p.get("train"))}
        for group in groups if isinstance(groups, list) else []:
            if group not in trained:
                said = did_you_mean(str(group), sorted(trained))
                raise ConfigError(f"{where}: phases: {plain(name, 60)}: without: {said}")


def named(phases: Any, where: str) -> list[Phase]:
    """The phases of a list, each with a name.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(phases, list):
        raise ConfigError(f"{where}: phases: must be a list of phases")
    for number, phase in enumerate(phases, 1):
        if not isinstance(phase, dict) or not isinstance(phase.get("name"), str):
            raise ConfigError(f"{where}: phases: phase {number} has no name")
    return phases


def _changed(phase: Phase, change: Phase, where: str, find: Find) -> Phase:
    change = dict(change)
    result = dict(phase)

    def take(word: str) -> list[Phase]:
        names = change.pop(word)
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{where}: {word}: must name stage files, not {value(names)}")
        found = [phase for name in names for phase in find(name)]
        if not found:
            raise ConfigError(f"{where}: {word}: must name at least one stage file")
        return found

    if "steps_of" in change:
        result["steps"] = sum(_steps(p, where) for p in take("steps_of"))
        result.pop("epochs", None)
    if "mixture_of" in change:
        for key in _OF_LANGUAGES:
            result.pop(key, None)
        result.update(_mixture(take("mixture_of"), where))
    if "lr_of" in change:
        rates: dict[str, Any] = {}
        for source in take("lr_of"):
            for group, rate in _mapping(source, "lr", where).items():
                rates.setdefault(group, rate)
        own = _mapping(result, "lr", where)
        result["lr"] = {group: rates.get(group, rate) for group, rate in own.items()}
    if "without" in change:
        groups = change.pop("without")
        if not isinstance(groups, list):
            raise ConfigError(f"{where}: without: must be a list of groups, such as [llm]")
        result["train"] = [s for s in _list(result.get("train")) if _group(s) not in groups]
        own = _mapping(result, "lr", where)
        result["lr"] = {group: rate for group, rate in own.items() if group not in groups}
    return {key: item for key, item in {**result, **change}.items() if item is not None}


def _is_number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def _steps(phase: Phase, where: str) -> int:
    steps = phase.get("steps")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        name = plain(phase["name"], 60)
        raise ConfigError(
            f"{where}: the phase {name}, which it takes from, has no number of `steps`"
        )
    return steps


def _mixture(phases: list[Phase], where: str) -> Phase:
    """The tasks of ``phases``, weighted by their steps, and the first temperature and limits."""
    if len(phases) == 1 or all(p.get("tasks") == phases[0].get("tasks") for p in phases):
        tasks = phases[0].get("tasks")
        if tasks is None:
            name = plain(phases[0]["name"], 60)
            raise ConfigError(f"{where}: the phase {name}, which it takes from, has no `tasks`")
    else:
        tasks, total = {}, sum(_steps(p, where) for p in phases)
        for phase in phases:
            weights = _mapping(phase, "tasks", where)
            if not all(0 < weight < 1e9 for weight in weights.values()):
                name = plain(phase["name"], 60)
                raise ConfigError(f"{where}: the phase {name}: tasks: weights must be above 0")
            whole = sum(weights.values())
            for task, weight in weights.items():
                share = weight / whole * _steps(phase, where) / total
                tasks[task] = round(tasks.get(task, 0.0) + share, 6)
    taken = {key: [p[key] for p in phases if p.get(key) is not None] for key in _OF_LANGUAGES}
    return {"tasks": tasks, **{key: given[0] for key, given in taken.items() if given}}


def _mapping(phase: Phase, key: str, where: str) -> dict[str, float]:
    found = phase.get(key)
    if not isinstance(found, dict) or not all(map(_is_number, found.values())):
        name = plain(phase["name"], 60)
        raise ConfigError(f"{where}: the phase {name}: {key}: must map names to numbers")
    return found


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _group(selector: Any) -> str:
    return str(selector).split(".")[0].split("[")[0]
