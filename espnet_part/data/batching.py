"""From examples to steps and micro-batches: pure functions of lengths and seeds.

A step is what one optimizer update sees, over all processes and accumulated micro-batches. Its
content depends on neither; `split_step` then cuts it into one part per process and micro-batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espnet_part.data import ENCODER_COST


@dataclass(frozen=True, slots=True)
class Lengths:
    """What an example costs.

    Attributes:
        llm: (N,) int64, positions in the LLM: prompt, speech and answer.
        encoder: (N,) int64, frames in the speech encoder; 0 for an example without speech.
    """

    llm: np.ndarray
    encoder: np.ndarray


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a padded batch, in LLM positions.

    cost = rows x longest LLM length + encoder_cost x clips x longest encoder length.
    """

    lengths: Lengths
    encoder_cost: float = ENCODER_COST

    def __call__(self, batch: Sequence[int] | np.ndarray) -> float:
        """The cost of a batch of examples."""
        if not len(batch):
            return 0.0
        llm, encoder = self.lengths.llm[batch], self.lengths.encoder[batch]
        clips = int(np.count_nonzero(encoder))
        return float(len(batch) * llm.max() + self.encoder_cost * clips * encoder.max())


def plan_steps(
    indices: Sequence[int] | np.ndarray,
    cost: Cost,
    *,
    budget: float | None = None,
    max_examples: int | None = None,
    rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """Cut a pool of examples into steps of examples of like length.

    The examples are sorted by length, cut where the next example would break the budget, and the
    steps are shuffled.

    Args:
        indices: the examples.
        cost: the cost of a batch.
        budget: largest cost of a step; None for steps of ``max_examples`` examples.
        max_examples: most examples of a step.
        rng: of the shuffles; None leaves the order fixed (validation).

    Returns:
        Steps of (n,) int64, every index in exactly one. An example that breaks the budget by
        itself is a step of its own.

    Raises:
        ValueError: neither a budget nor a number of examples is given.
    """
    if budget is None and max_examples is None:
        raise ValueError("a budget or a number of examples is needed")
    order = np.asarray(indices, dtype=np.int64)
    if rng is not None:
        order = rng.permutation(order)
    steps = _cut(_by_length(order, cost), cost, budget, max_examples) if len(order) else []
    if rng is not None:
        steps = [steps[n] for n in rng.permutation(len(steps))]
    return steps


def split_step(
    step: Sequence[int] | np.ndarray, parts: int, cost: Cost, most: int | None = None
) -> list[np.ndarray]:
    """Cut a step into micro-batches of like cost.

    The examples are sorted by length and cut into runs such that the dearest run is as cheap as
    can be. Parts are empty only when there are fewer examples than parts.

    Args:
        step: the examples of the step.
        parts: processes x accumulated micro-batches.
        cost: the cost of a batch.
        most: most examples of a part; must leave room for all.

    Returns:
        ``parts`` arrays; the dearest-to-pad (longest) examples are in the last ones.
    """
    order = _by_length(np.asarray(step, dtype=np.int64), cost)
    if parts == 1:
        return [order]
    low, high = 0.0, cost(order)
    # halving the interval 24 times leaves less than a position of any step that fits a machine
    for _ in range(24):
        middle = (low + high) / 2
        if len(_cut(order, cost, middle, most)) <= parts:
            high = middle
        else:
            low = middle
    runs = _cut(order, cost, high, most)
    while len(runs) < min(parts, len(order)):
        dearest = max(
            (n for n, run in enumerate(runs) if len(run) > 1), key=lambda n: cost(runs[n])
        )
        half = len(runs[dearest]) // 2
        runs[dearest : dearest + 1] = [runs[dearest][:half], runs[dearest][half:]]
    return runs + [np.empty(0, dtype=np.int64)] * (parts - len(runs))


def micro_batches_needed(
    step: Sequence[int] | np.ndarray, world: int, cost: Cost, budget: float | None, most: int | None
) -> int:
    """How many micro-batches each of ``world`` processes needs for its share of a step.

    Args:
        step: the examples of the step. cost: the cost of a batch.
        budget, most: largest cost and most examples of a micro-batch; an example that breaks the
            budget by itself is a micro-batch of its own.
    """
    order = _by_length(np.asarray(step, dtype=np.int64), cost)
    return max(1, math.ceil(len(_cut(order, cost, budget, most)) / world))


def padding_share(batches: Sequence[np.ndarray], lengths: np.ndarray) -> float:
    """The share of padding when each batch is padded to its longest; zero lengths are absent."""
    real = padded = 0
    for batch in batches:
        present = lengths[batch][lengths[batch] > 0]
        if len(present):
            real += int(present.sum())
            padded += len(present) * int(present.max())
    return 1 - real / padded if padded else 0.0


def _by_length(order: np.ndarray, cost: Cost) -> np.ndarray:
    """Sort so that neighbours are alike in the LLM and in the encoder; ties keep their order.

    Speech is sorted by the mean of its LLM length and of its encoder length in LLM positions (at
    the run's own ratio), text by its LLM length: this halves the encoder's padding of a sort by
    LLM length and still lets speech and text share a batch.
    """
    llm = cost.lengths.llm[order]
    encoder = cost.lengths.encoder[order]
    speech = encoder > 0
    key = llm.astype(np.float64)
    if speech.any():
        ratio = llm[speech].sum() / encoder[speech].sum()
        key[speech] = (llm[speech] + ratio * encoder[speech]) / 2
    return order[np.argsort(key, kind="stable")]


def _cut(
    order: np.ndarray, cost: Cost, budget: float | None, max_examples: int | None
) -> list[np.ndarray]:
    """Cut a sorted run of examples wherever one more would break the budget."""
    most = len(order) if max_examples is None else max_examples
    if budget is None:
        return [order[start : start + most] for start in range(0, len(order), most)]
    llm_lengths = cost.lengths.llm[order].tolist()
    encoder_lengths = cost.lengths.encoder[order].tolist()
    weight = cost.encoder_cost
    cuts = [0]
    llm = encoder = clips = rows = 0
    for position, (llm_next, encoder_next) in enumerate(
        zip(llm_lengths, encoder_lengths, strict=True)
    ):
        llm, encoder = max(llm, llm_next), max(encoder, encoder_next)
        clips += encoder_next > 0
        rows += 1
        if rows > 1 and (rows > most or rows * llm + weight * clips * encoder > budget):
            cuts.append(position)
            llm, encoder, clips, rows = llm_next, encoder_next, int(encoder_next > 0), 1
    cuts.append(len(order))
    return [order[a:b] for a, b in itertools.pairwise(cuts)]
