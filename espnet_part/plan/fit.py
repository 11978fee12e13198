"""Whether a phase fits into a GPU, and what to change where it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from espnet_part.model.operations import Part
from espnet_part.plan.batch import Example, make_batch
from espnet_part.plan.data import ANSWER_TOKENS
from espnet_part.plan.memory import Memory, Training, batch_memory
from espnet_part.plan.operations import Model

#: Seconds that are tried for the dearest micro-batch: short clips are mostly text for the LLM,
#: long ones mostly frames for the encoder.
SECONDS = (1, 2, 4, 8, 15, 30)
_SHOWN = 3  # changes that are advised


@dataclass(frozen=True)
class Batching:
    """The size of a step, as the trainer cuts it.

    Attributes:
        bins: budget of one micro-batch of one process in LLM positions; None with ``rows``.
        rows: its examples, where batches are counted in examples.
        accum: micro-batches of a process in a step.
        gpus: processes.
        encoder_cost: of a frame, in LLM positions.
        padding: share of a batch that is padding.
    """

    bins: float | None
    rows: float | None
    accum: int
    gpus: int
    encoder_cost: float
    padding: float

    def examples(self, mean_cost: float) -> float:
        """Examples a step when one costs ``mean_cost`` on the average."""
        if self.rows is not None:
            return self.rows * self.gpus * self.accum
        assert self.bins is not None
        return max(1.0, self.bins * self.gpus * self.accum * (1 - self.padding) / mean_cost)

    def largest(self, cost: float) -> int:
        """Most examples of a micro-batch of a step whose examples cost ``cost`` each."""
        parts = self.gpus * self.accum
        if self.rows is not None:
            return math.ceil(self.rows)
        assert self.bins is not None
        return math.ceil(max(1, int(self.bins * parts / cost)) / parts)

    def divided(self, by: float) -> Batching:
        """The same step in smaller micro-batches."""
        return dataclasses.replace(
            self,
            bins=None if self.bins is None else self.bins / by,
            rows=None if self.rows is None else self.rows / by,
            accum=round(self.accum * by),
        )

    def most(self, longest: float) -> float:
        """By how much micro-batches can be divided: each holds an example of cost ``longest``."""
        room = self.rows if self.bins is None else self.bins / longest
        assert room is not None
        return max(1.0, math.floor(room * self.accum) / self.accum)


@dataclass(frozen=True)
class Load:
    """What a phase puts on a GPU, whatever the model and the size of its batches.

    Attributes:
        trained: names of the parameters. tasks: the average example of each task.
        training: see there. reserve: bytes to be set aside.
    """

    trained: Collection[str]
    tasks: Mapping[str, Example]
    training: Training
    reserve: float

    def dearest(self, model: Model, batching: Batching) -> tuple[Memory, str]:
        """The largest memory that a micro-batch can take, and that micro-batch in words.

        A step holds examples of like length, so each length may fill a micro-batch.
        """
        found = []
        for example, name in _lengths(self.tasks):
            rows = batching.largest(example.cost(model.rates, batching.encoder_cost))
            batch = make_batch(example, rows, model.rates)
            memory = batch_memory(model, self.trained, batch, self.training, self.reserve)
            found.append((memory, f"{rows} x {name}"))
        return max(found, key=lambda pair: pair[0].peak)

    def longest(self, model: Model, encoder_cost: float) -> float:
        """The cost of the longest example, which a micro-batch must hold."""
        return max(e.cost(model.rates, encoder_cost) for e, _ in _lengths(self.tasks))

    def changes(
        self, model: Model, batching: Batching, limit: float
    ) -> tuple[tuple[str, ...], float]:
        """What to change in the options.

        Returns:
            Changes, the mildest first, each of which makes it fit into ``limit`` bytes and keeps
            the step; none cuts micro-batches below the longest example. And the least memory that
            any change leads to, in bytes.
        """
        fitting: list[str] = []
        least, longest = math.inf, self.longest(model, batching.encoder_cost)
        for load, strategy in self._strategies(model):
            if fitting:
                break
            for change, changed, cut in (
                ("", model, batching),
                *_changes(model, batching, longest),
            ):
                peak = load.dearest(changed, cut)[0].peak
                least = min(least, peak)
                if peak <= limit:
                    fitting.append(" and ".join(filter(None, (strategy, change))))
        return tuple(fitting[:_SHOWN]), least

    def _strategies(self, model: Model) -> Iterator[tuple[Load, str]]:
        """As it is, and with the model shared by the GPUs where it can be, which costs communication."""
        yield self, ""
        if model.is_quantized:
            return
        if self.training.gpus > 1 and not self.training.sharded:
            training = dataclasses.replace(self.training, sharded=True)
            yield dataclasses.replace(self, training=training), "parallel: fsdp2"


def _lengths(tasks: Mapping[str, Example]) -> Iterator[tuple[Example, str]]:
    """Examples of each task, from short to long."""
    for task, mean in tasks.items():
        if mean.seconds:
            rate = mean.answer / mean.seconds
            for seconds in SECONDS:
                yield Example(seconds, mean.prompt, rate * seconds + 1), f"{seconds} s of {task}"
        else:
            for seconds in SECONDS:
                tokens = ANSWER_TOKENS * seconds + 1
                yield (
                    Example(0, mean.prompt - mean.answer + tokens, tokens),
                    (f"{tokens:.0f} tokens of {task}"),
                )


def _changes(
    model: Model, batching: Batching, longest: float
) -> Iterator[tuple[str, Model, Batching]]:
    """Changes that save memory, the mildest first; they keep the step as it is.

    Micro-batches are cut no further than to the cost of the ``longest`` example: that one remains
    whole, so less would only waste the GPU.
    """
    most = batching.most(longest)
    for by in (2, 4, 8, 16, 32, 64, 128):
        if by < most:
            cut = batching.divided(by)
            yield _smaller(cut), model, cut
        if by in (2, 8) and by // 2 < most:
            yield from _checkpointing(model, batching.divided(by // 2), is_cut=by > 2)
    cut = batching.divided(most)
    if most > 1:
        yield _smaller(cut), model, cut
    yield from _checkpointing(model, cut, is_cut=most > 1)


def _checkpointing(
    model: Model, batching: Batching, is_cut: bool
) -> Iterator[tuple[str, Model, Batching]]:
    also = f" and {_smaller(batching)}" if is_cut else ""
    plain = [p.name for p in model.parts if p.checkpointed is False]
    choices: Sequence[Sequence[str]] = [[name] for name in plain]
    if len(plain) > 1:
        choices = [*choices, plain]
    for names in choices:
        parts: list[Part] = [
            dataclasses.replace(p, checkpointed=True) if p.name in names else p for p in model.parts
        ]
        keys = " and ".join(f"{name}_conf: {{gradient_checkpointing: true}}" for name in names)
        yield f"{keys}{also}", dataclasses.replace(model, parts=tuple(parts)), batching


def _smaller(batching: Batching) -> str:
    if batching.rows is not None:
        return f"batch_size: {batching.rows * batching.gpus:.0f}, accum_grad: {batching.accum}"
    assert batching.bins is not None
    return f"max_bins_per_gpu: {batching.bins:.0f}"
