"""Which examples an epoch holds: task shares, language temperature, every example in its turn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from espnet_part.config import ConfigError
from espnet_part.data.datadir import Example

#: (task, language heard or read, language written)
Stratum = tuple[str, str, str]


class Mixture:
    """Chooses the examples of each epoch.

    A stratum (task, language, target language) is an endless stream: one seeded permutation of its
    examples after the other. An epoch takes the next positions of each stream, so an example is
    read again only after all others of its stratum, and none is left unread. With natural sizes
    an epoch holds every example exactly once. Within a task a stratum of n examples has the
    probability p ~ n^(1/temperature), as in multilingual BERT and XLM-R (Conneau et al., 2020,
    section 3.1). A stratum's share of an epoch need not be whole: what is left over counts in the
    next epoch.

    Args:
        examples: the examples; the mixture speaks of their positions in this sequence.
        tasks: a sequence of tasks (natural sizes), or task -> weight (shares of an epoch of as
            many examples as these tasks have).
        temperature: 1 for natural sizes, more for more even ones.
        seed: of the permutations.
        where: file and phase, for messages.
        usable: (len(examples),) bool; false for what is never to be chosen.

    Raises:
        ConfigError: a task has no (usable) data, a weight or the temperature is not positive.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tasks: Sequence[str] | Mapping[str, float],
        temperature: float = 1.0,
        seed: int = 0,
        where: str = "mixture",
        usable: np.ndarray | None = None,
    ):
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ConfigError(f"{where}: temperature: must be positive: {temperature}")
        self.seed = seed
        self.members = _strata(examples, set(tasks), usable)
        sizes = {stratum: len(members) for stratum, members in self.members.items()}
        natural = {task: sum(n for s, n in sizes.items() if s[0] == task) for task in tasks}
        if not natural:
            raise ConfigError(f"{where}: tasks: none is given")
        for task, size in natural.items():
            if size == 0:
                has = ", ".join(sorted({e.task for e in examples})) or "nothing"
                raise ConfigError(f"{where}: tasks: no data for {task}; the data hold {has}")
        total = sum(natural.values())
        weights = _shares(tasks, where) if isinstance(tasks, Mapping) else None
        self._share: dict[Stratum, float] = {}
        for stratum, size in sizes.items():
            task = stratum[0]
            of_task = float(natural[task]) if weights is None else total * weights[task]
            powers = sum(n ** (1 / temperature) for s, n in sizes.items() if s[0] == task)
            self._share[stratum] = of_task * size ** (1 / temperature) / powers

    def counts(self, epoch: int) -> dict[Stratum, int]:
        """How many examples of each stratum an epoch holds."""
        return {stratum: stop - start for stratum, (start, stop) in self._spans(epoch).items()}

    def epoch(self, epoch: int) -> np.ndarray:
        """The examples of an epoch.

        Returns:
            (n,) int64 positions in ``examples``, stratum by stratum.
        """
        taken = [self._take(s, start, stop) for s, (start, stop) in self._spans(epoch).items()]
        return np.concatenate(taken)

    def _spans(self, epoch: int) -> dict[Stratum, tuple[int, int]]:
        """The positions in each stratum's stream that belong to an epoch."""
        return {
            # the small number undoes rounding, so that whole shares stay whole
            stratum: (math.floor(epoch * share + 1e-6), math.floor((epoch + 1) * share + 1e-6))
            for stratum, share in self._share.items()
        }

    def _take(self, stratum: Stratum, start: int, stop: int) -> np.ndarray:
        members = self.members[stratum]
        taken = [np.empty(0, dtype=np.int64)]
        while start < stop:
            lap, offset = divmod(start, len(members))
            count = min(stop - start, len(members) - offset)
            key = [self.seed, _number("/".join(stratum)), lap]
            order = np.random.default_rng(key).permutation(len(members))
            taken.append(members[order[offset : offset + count]])
            start += count
        return np.concatenate(taken)


def _strata(
    examples: Sequence[Example], tasks: set[str], usable: np.ndarray | None
) -> dict[Stratum, np.ndarray]:
    """Positions of the examples of each stratum, in a fixed order of strata."""
    found: dict[Stratum, list[int]] = {}
    for position, example in enumerate(examples):
        if example.task in tasks and (usable is None or usable[position]):
            key = (example.task, example.lang, example.tgt)
            found.setdefault(key, []).append(position)
    return {stratum: np.array(found[stratum], dtype=np.int64) for stratum in sorted(found)}


def _shares(tasks: Mapping[str, float], where: str) -> dict[str, float]:
    for task, weight in tasks.items():
        if not (weight > 0 and math.isfinite(weight)):
            raise ConfigError(f"{where}: tasks: the weight of {task} must be positive: {weight}")
    total = math.fsum(tasks.values())
    return {task: weight / total for task, weight in tasks.items()}


def _number(name: str) -> int:
    """A number for a name, the same in every process (unlike Python's hash)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
