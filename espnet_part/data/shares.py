"""The share of each stratum in a phase: task weights, language temperature, caps and floors.

Tasks share a phase by their weights or sizes. Within a task the languages start from p ~ n^(1/T); a cap on
epochs takes from those that would be repeated too often, as UniMax does (Chung et al., 2023), a least share
gives to the small ones, and the others of the task keep their proportions.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from espnet_part.data import Stratum
from espnet_part.errors import ConfigError, did_you_mean

#: One value for all strata, or values by the names of `stratum_names`.
Setting = float | Mapping[str, float]
_ROUNDING = 1e-9


def stratum_names(stratum: Stratum) -> tuple[str, ...]:
    """What settings may call a stratum; the first that has a value counts."""
    task, lang, tgt = stratum
    return (f"{task}/{lang}/{tgt}", f"{task}/{lang}", lang, f"{task}/*", "*")


@dataclass(frozen=True)
class Limits:
    """What keeps a phase's languages from being repeated too often, or heard too little.

    Attributes:
        max_epochs: How often the phase may go through a stratum.
        min_share: The least share of a stratum among the examples of its task; where ``max_epochs``
            does not leave as much, that counts.
    """

    max_epochs: Setting | None = None
    min_share: Setting | None = None

    def __bool__(self) -> bool:
        return self.max_epochs is not None or self.min_share is not None

    def caps(self, sizes: Mapping[Stratum, float], where: str) -> dict[Stratum, float]:
        """The most examples of each stratum in the phase.

        Raises:
            ConfigError: a name that the strata have not.
        """
        most = _by_stratum(self.max_epochs, math.inf, sizes, f"{where}: max_epochs")
        return {stratum: most[stratum] * size for stratum, size in sizes.items()}

    def floors(self, sizes: Mapping[Stratum, float], where: str) -> dict[Stratum, float]:
        """The least share of each stratum among the examples of its task.

        Raises:
            ConfigError: a name that the strata have not, or floors that leave nothing for others.
        """
        where = f"{where}: min_share"
        least = _by_stratum(self.min_share, 0.0, sizes, where)
        for task, strata in by_task(sizes).items():
            total = math.fsum(least[s] for s in strata)
            without = [s for s in strata if not least[s]]
            if total > 1 + _ROUNDING or (without and total > 1 - _ROUNDING):
                lacking = f", and nothing is left for {'/'.join(without[0])}" if without else ""
                raise ConfigError(
                    f"{where}: the least shares of the {len(strata)} strata of {task} add up to "
                    f"{total:.4g}{lacking}; they must leave room within 1 "
                    f"({1 / len(strata):.3g} each would be equal shares)"
                )
        return least


NO_LIMITS = Limits()


def by_task(strata: Mapping[Stratum, object]) -> dict[str, list[Stratum]]:
    """The strata of each task."""
    found: dict[str, list[Stratum]] = {}
    for stratum in strata:
        found.setdefault(stratum[0], []).append(stratum)
    return found


def natural_shares(
    sizes: Mapping[Stratum, float],
    tasks: Sequence[str] | Mapping[str, float],
    temperature: float = 1.0,
    where: str = "mixture",
) -> dict[Stratum, float]:
    """How many examples of each stratum an epoch holds, which has as many examples as the strata.

    Within a task a stratum of n examples has the probability p ~ n^(1/temperature), as in
    multilingual BERT and XLM-R (Conneau et al., 2020, section 3.1).

    Args:
        sizes: examples of each stratum of these tasks.
        tasks: a sequence of tasks (natural sizes), or task -> weight.
        temperature: 1 for natural sizes, more for more even ones.
        where: file and phase, for messages.

    Raises:
        ConfigError: a weight or the temperature is not positive.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigError(f"{where}: temperature: must be positive: {temperature}")
    natural = {task: sum(n for s, n in sizes.items() if s[0] == task) for task in tasks}
    size = sum(natural.values())
    weights = _weights(tasks, where) if isinstance(tasks, Mapping) else None
    powers = {
        task: sum(sizes[s] ** (1 / temperature) for s in strata)
        for task, strata in by_task(sizes).items()
    }
    shares: dict[Stratum, float] = {}
    for stratum, count in sizes.items():
        task = stratum[0]
        of_task = float(natural[task]) if weights is None else size * weights[task]
        shares[stratum] = of_task * count ** (1 / temperature) / powers[task]
    return shares


def limited_shares(
    shares: Mapping[Stratum, float],
    sizes: Mapping[Stratum, float],
    limits: Limits,
    drawn: Callable[[float], float],
    costs: Mapping[Stratum, float] | None = None,
    where: str = "mixture",
) -> tuple[dict[Stratum, float], dict[Stratum, str]]:
    """Shares within limits; each task keeps its part of the phase.

    A phase of so many steps holds the more examples, the shorter they are, so caps and the number of
    examples depend on each other. The number that fits both is found by bisection: it is unique, since
    a phase of more examples holds at least as many of each stratum.

    Args:
        shares: of an epoch (see `natural_shares`).
        sizes: examples of each stratum.
        drawn: mean cost of an example -> how many examples the phase draws at most.
        costs: mean cost of an example of each stratum; None where ``drawn`` does not ask for it.
        where: file and phase, for messages.

    Returns:
        Shares with the same sum, and the key that set a stratum's share where one did.

    Raises:
        ConfigError: limits that cannot be kept, in numbers.
    """
    caps, floors = limits.caps(sizes, where), limits.floors(sizes, where)
    size = sum(sizes.values())
    parts = {t: math.fsum(shares[s] for s in strata) for t, strata in by_task(sizes).items()}
    costs = costs or dict.fromkeys(sizes, 1.0)

    def spread(examples: float) -> dict[Stratum, float]:
        """A phase of so many examples."""
        found: dict[Stratum, float] = {}
        for task, strata in by_task(sizes).items():
            of_task = parts[task] / size * examples
            lowest = [min(floors[s] * of_task, caps[s]) for s in strata]
            weights, highest = [shares[s] for s in strata], [caps[s] for s in strata]
            found.update(zip(strata, fill(weights, lowest, highest, of_task), strict=True))
        return found

    def fitting(examples: float) -> float:
        """How many examples the phase would draw if it were mixed as one of ``examples``."""
        mixed = spread(examples)
        return drawn(math.fsum(mixed[s] * costs[s] for s in mixed) / math.fsum(mixed.values()))

    rooms = {
        task: math.fsum(caps[s] for s in strata) / (parts[task] / size)
        for task, strata in by_task(sizes).items()
    }
    task, room = min(rooms.items(), key=lambda item: item[1])
    if math.isfinite(room) and (wanted := fitting(room)) > room * (1 + _ROUNDING):
        of_task = parts[task] / size * wanted
        held = sum(sizes[s] for s in sizes if s[0] == task)
        raise ConfigError(
            f"{where}: max_epochs: allows {room * parts[task] / size:,.0f} examples of {task}, but the "
            f"phase draws about {of_task:,.0f}, each {of_task / held:.3g} times on the average; allow "
            "more, give the task less weight or shorten the phase"
        )
    low, high = drawn(max(costs.values())), drawn(min(costs.values()))
    low, high = min(low, room), min(high, room)
    while high - low > _ROUNDING * high:
        middle = (low + high) / 2
        low, high = (middle, high) if fitting(middle) > middle else (low, middle)
    mixed = spread(low)
    bound = {s: "max_epochs" for s in mixed if mixed[s] >= caps[s] * (1 - _ROUNDING)}
    for s in mixed.keys() - bound.keys():
        if mixed[s] <= floors[s] * parts[s[0]] / size * low * (1 + _ROUNDING):
            bound[s] = "min_share"
    return {s: count / low * size for s, count in mixed.items()}, bound


def fill(
    weights: Sequence[float], lowest: Sequence[float], highest: Sequence[float], total: float
) -> list[float]:
    """Spread ``total`` in proportion to weights, each within its bounds (water-filling).

    Args:
        weights: above 0.
        lowest, highest: bounds; their sums must leave ``total`` between them.
    """
    bounds = list(zip(weights, lowest, highest, strict=True))

    def at(level: float) -> list[float]:
        return [min(max(level * weight, low), high) for weight, low, high in bounds]

    turns = sorted({bound / w for w, *both in bounds for bound in both if math.isfinite(bound)})
    number = bisect.bisect_left(turns, total, key=lambda level: math.fsum(at(level)))
    level = turns[number - 1] if number else 0.0
    free = [low / w <= level < high / w for w, low, high in bounds]
    weight = math.fsum(w for w, is_free in zip(weights, free, strict=True) if is_free)
    if weight:  # between two turns, those that are free share what the others leave
        bound = math.fsum(x for x, is_free in zip(at(level), free, strict=True) if not is_free)
        level = (total - bound) / weight
    return at(level)


def _by_stratum(
    setting: Setting | None, default: float, sizes: Mapping[Stratum, float], where: str
) -> dict[Stratum, float]:
    """A setting's value for each stratum."""
    if not isinstance(setting, Mapping):
        setting = {} if setting is None else {"*": setting}
    names = {stratum: stratum_names(stratum) for stratum in sizes}
    known = {name for those in names.values() for name in those}
    for name in setting:
        if name not in known:
            languages = sorted({stratum[1] for stratum in sizes})
            shown = ", ".join(languages[:_SHOWN]) + (", …" if len(languages) > _SHOWN else "")
            raise ConfigError(
                f"{where}: {did_you_mean(name, sorted(known), listed=False)}; the phase's tasks "
                f"({', '.join(by_task(sizes))}) have {len(languages)} languages: {shown}"
            )
    return {
        stratum: next((setting[name] for name in those if name in setting), default)
        for stratum, those in names.items()
    }


_SHOWN = 20  # languages in a message


def _weights(tasks: Mapping[str, float], where: str) -> dict[str, float]:
    for task, weight in tasks.items():
        if not (weight > 0 and math.isfinite(weight)):
            raise ConfigError(f"{where}: tasks: the weight of {task} must be positive: {weight}")
    total = math.fsum(tasks.values())
    return {task: weight / total for task, weight in tasks.items()}
