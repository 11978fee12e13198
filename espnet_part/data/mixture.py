"""Which examples a phase draws: of each stratum its share (see `shares`), every example in its turn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from espnet_part.data import Stratum
from espnet_part.data.examples import Examples
from espnet_part.data.heard import Heard
from espnet_part.errors import ConfigError

#: Of the orders of passes so many pools are kept, and so many members of all strata at least. The whole
#: orders would be 4 bytes an example in every process; to make them anew takes 30 ms a million.
_POOLS_KEPT, _KEPT = 16, 1 << 18

Shuffle = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Mixture:
    """Chooses the examples of a phase, in the order in which they are drawn.

    A stratum (task, language, target language) is an endless stream of passes over its examples,
    each in a seeded random order in which those come first that the run has heard less often (see
    `Heard`). So an example is drawn again only after all others of its stratum, through phases and
    stages, and every window of a pass's length that begins with the phase holds each once. With
    natural sizes an epoch therefore holds every example exactly once. A stratum's share need not be
    whole: what is left over counts later.

    Args:
        members: (n,) positions of the examples of each stratum (see `select`).
        shares: examples of each stratum in an epoch, which has as many as there are members.
        seed: of the permutations.
        shuffle: puts (n,) members into a random order; by default each is as likely as any other.

    Attributes:
        size: examples drawn in an epoch.
    """

    def __init__(
        self,
        members: Mapping[Stratum, np.ndarray],
        shares: Mapping[Stratum, float],
        seed: int = 0,
        shuffle: Shuffle = lambda members, rng: rng.permutation(members),
    ):
        self.members = members
        self.shares = shares
        self.seed = seed
        self.shuffle = shuffle
        self.size = sum(map(len, members.values()))
        self._kept: dict[Stratum, _Kept] = {}

    def counts(self) -> dict[Stratum, int]:
        """How many examples of each stratum the first epoch draws."""
        return {s: stop - start for s, (start, stop) in self._spans(0, self.size).items()}

    def draw(self, start: int, stop: int, heard: Heard) -> np.ndarray:
        """The examples number ``start`` to ``stop`` of a phase.

        Args:
            heard: what had been heard when the phase began.

        Returns:
            (about stop - start,) int64 positions in ``examples``, stratum by stratum.
        """
        spans = self._spans(start, stop)
        return np.concatenate([self._take(s, *span, heard) for s, span in spans.items()])

    def heard_after(self, drawn: int, heard: Heard, pools: int, more: np.ndarray) -> Heard:
        """What has been heard when a phase ends.

        Args:
            drawn: examples drawn in the phase, all of which were heard.
            heard: what had been heard when it began.
            pools: pools drawn by now (see `Heard`).
            more: examples heard beside them.
        """
        ahead = heard.ahead
        times = ahead.astype(np.int32)
        for stratum, (_, stop) in self._spans(0, drawn).items():
            lap, offset = divmod(stop, len(self.members[stratum]))
            times[self._order(stratum, lap, heard)[:offset]] += 1
        np.add.at(times, more, 1)
        for members in self.members.values():
            ahead[members] = times[members] > times[members].min()
        return Heard(pools, ahead)

    def _spans(self, start: int, stop: int) -> dict[Stratum, tuple[int, int]]:
        """The positions in each stratum's stream that are drawn from ``start`` to ``stop``."""
        spans = {}
        for stratum, share in self.shares.items():
            # the small number undoes rounding, so that whole shares stay whole
            first, last = (math.floor(n * share / self.size + 1e-6) for n in (start, stop))
            spans[stratum] = (first, last)
        return spans

    def _take(self, stratum: Stratum, start: int, stop: int, heard: Heard) -> np.ndarray:
        size = len(self.members[stratum])
        taken = [np.empty(0, dtype=np.int64)]
        while start < stop:
            lap, offset = divmod(start, size)
            count = min(stop - start, size - offset)
            taken.append(self._of_pass(stratum, lap, slice(offset, offset + count), heard))
            start += count
        return np.concatenate(taken)

    def _of_pass(self, stratum: Stratum, lap: int, part: slice, heard: Heard) -> np.ndarray:
        """Part of a pass over a stratum; what is likely to be drawn after it is kept."""
        kept = self._kept.get(stratum)
        if kept is None or not kept.holds(heard, lap, part):
            size = max(_POOLS_KEPT * (part.stop - part.start), _KEPT // len(self.members))
            order = self._order(stratum, lap, heard)[part.start : part.start + size].copy()
            kept = self._kept[stratum] = _Kept(heard, lap, part.start, order)
        return kept.order[part.start - kept.start : part.stop - kept.start]

    def _order(self, stratum: Stratum, lap: int, heard: Heard) -> np.ndarray:
        """The members of a stratum in the order of a pass over them."""
        members = self.members[stratum]
        key = [self.seed, _number("/".join(stratum)), heard.pools, lap]
        order = self.shuffle(members, np.random.default_rng(key))
        ahead = heard.is_ahead(order)
        return np.concatenate([order[~ahead], order[ahead]]) if ahead.any() else order


@dataclass(frozen=True)
class _Kept:
    """The order of a pass, number ``lap`` since ``heard``, from its place ``start`` on."""

    heard: Heard
    lap: int
    start: int
    order: np.ndarray

    def holds(self, heard: Heard, lap: int, part: slice) -> bool:
        same = self.heard is heard and self.lap == lap
        return same and self.start <= part.start and part.stop <= self.start + len(self.order)


def select(
    examples: Examples,
    tasks: Collection[str],
    where: str = "mixture",
    usable: np.ndarray | None = None,
) -> dict[Stratum, np.ndarray]:
    """The positions of the usable examples of each stratum of ``tasks``, as (n,) arrays.

    Args:
        usable: (len(examples),) bool; false for what is never to be chosen.
        where: file and phase, for messages.

    Raises:
        ConfigError: a task has no (usable) data.
    """
    if not tasks:
        raise ConfigError(f"{where}: tasks: none is given")
    members = {
        stratum: chosen
        for stratum, all_of_it in examples.strata.items()
        if stratum[0] in tasks and len(chosen := _usable(all_of_it, usable))
    }
    for task in tasks:
        if all(stratum[0] != task for stratum in members):
            has = ", ".join(examples.tasks) or "nothing"
            raise ConfigError(f"{where}: tasks: no data for {task}; the data hold {has}")
    return members


def _usable(members: np.ndarray, usable: np.ndarray | None) -> np.ndarray:
    """Those members that may be chosen; the same array, which may be a file's, where all may."""
    chosen = None if usable is None else usable[members]
    return members if chosen is None or chosen.all() else members[chosen]


def _number(name: str) -> int:
    """A number for a name, the same in every process (unlike Python's hash)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
