"""What each phase of a schedule will take: parameters, memory, data, arithmetic and time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_part.config import ConfigError, load_yaml
from espnet_part.model.protected import PROTECTED
from espnet_part.plan.batch import Example, make_batch
from espnet_part.plan.compute import Flops, batch_flops
from espnet_part.plan.data import ANSWER_TOKENS, Data
from espnet_part.plan.memory import GIB, Memory, Training, batch_memory
from espnet_part.plan.operations import Model, Part
from espnet_part.schedule.schedule import Phase, Schedule, Trainable

#: Seconds that are tried for the dearest micro-batch: short clips are mostly text for the LLM,
#: long ones mostly frames for the encoder.
SECONDS = (1, 2, 4, 8, 15, 30)


@dataclass(frozen=True)
class Hardware:
    """What trains.

    Attributes:
        gpus: in all. gpu_memory: of each, in GB as they are sold (2^30 bytes).
        peak_tflops: of each, dense bfloat16. mfu: the share of it that is reached.
        reserve: of each GPU's memory, in GB, for what is not counted.
    """

    gpus: int
    gpu_memory: float
    peak_tflops: float
    mfu: float
    reserve: float

    @property
    def flops(self) -> float:
        """Operations a second, of all together."""
        return self.gpus * self.peak_tflops * 1e12 * self.mfu


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

    def divided(self, by: int) -> Batching:
        """The same step in smaller micro-batches."""
        return dataclasses.replace(
            self,
            bins=None if self.bins is None else self.bins / by,
            rows=None if self.rows is None else self.rows / by,
            accum=self.accum * by,
        )


@dataclass(frozen=True)
class PhasePlan:
    """What a phase takes; bytes, seconds and numbers of things.

    Attributes:
        parameters: that train, by group.
        memory: of the dearest micro-batch. dearest: that micro-batch in words.
        advice: what to change where it does not fit.
        examples, speech_tokens, text_tokens: of a step, on all GPUs; speech after the adapter.
        hours: of audio read in the phase. epochs: of the given hours.
        flops: of a step, on all GPUs.
    """

    stage: str
    phase: str
    steps: int
    parameters: Mapping[str, int]
    memory: Memory
    fits: bool
    dearest: str
    advice: tuple[str, ...]
    examples: float
    speech_tokens: float
    text_tokens: float
    hours: float
    epochs: float
    flops: Flops
    seconds: float


def plan_stage(
    path: str,
    schedule: Schedule,
    model: Model,
    data: Data,
    hardware: Hardware,
    *,
    overrides: Mapping[str, Any],
    padding: float,
) -> list[PhasePlan]:
    """Plan the phases of a stage file.

    Args:
        schedule: that of ``path``.
        overrides: options of part_train that replace the file's.
        padding: share of a batch that is padding.

    Raises:
        ConfigError: an option that cannot be planned with.
    """
    options = {**load_yaml(path), **overrides}
    training = Training(
        amp=bool(options.get("use_amp", False)),
        gpus=hardware.gpus,
        bucket_view=bool(options.get("gradient_as_bucket_view", True)),
        optimizer=str(options.get("optim", "adamw")),
    )
    batching = _batching(path, options, hardware.gpus, padding)
    trainable = schedule.resolve(list(model.shapes), PROTECTED)
    return [
        _plan_phase(path, phase, chosen, model, data, hardware, training, batching)
        for phase, chosen in zip(schedule.phases, trainable, strict=True)
    ]


def _plan_phase(
    stage: str,
    phase: Phase,
    chosen: Trainable,
    model: Model,
    data: Data,
    hardware: Hardware,
    training: Training,
    batching: Batching,
) -> PhasePlan:
    def dearest(model: Model, batching: Batching) -> tuple[Memory, str]:
        return max(
            (
                (
                    batch_memory(
                        model,
                        chosen.names,
                        make_batch(example, rows, model.downsample, model.window),
                        training,
                        hardware.reserve * GIB,
                    ),
                    f"{rows} x {name}",
                )
                for example, name in _lengths(phase, data)
                for rows in [
                    batching.largest(example.cost(model.downsample, batching.encoder_cost))
                ]
            ),
            key=lambda found: found[0].peak,
        )

    shares = data.shares(phase)
    limit = hardware.gpu_memory * GIB
    memory, shown = dearest(model, batching)
    advice: tuple[str, ...] = ()
    if memory.peak > limit:
        advice = tuple(
            change
            for change, other, cut in _changes(model, batching)
            if dearest(other, cut)[0].peak <= limit
        )[:3] or ("no batch is small enough: weights, gradients and optimizer leave no room",)

    means = {task: data.tasks[task].mean for task in shares}
    down = model.downsample
    cost = sum(
        share * means[task].cost(down, batching.encoder_cost) for task, share in shares.items()
    )
    examples = batching.examples(cost)
    steps = phase.steps
    if steps is None:
        steps = math.ceil((phase.epochs or 0) * data.examples(phase) / examples)
    flops = [
        batch_flops(
            model,
            chosen.names,
            # a micro-batch's share of the padding counts as rows more
            make_batch(means[task], examples * share / (1 - batching.padding), down, model.window),
        )
        for task, share in shares.items()
    ]
    total = Flops(
        sum(f.forward for f in flops), sum(f.backward for f in flops), sum(f.again for f in flops)
    )
    hours = steps * examples * sum(s * means[t].seconds for t, s in shares.items()) / 3600
    return PhasePlan(
        stage=stage,
        phase=phase.name,
        steps=steps,
        parameters={
            group: sum(math.prod(model.shapes[name]) for name in names)
            for group, names in chosen.groups.items()
        },
        memory=memory,
        fits=memory.peak <= limit,
        dearest=shown,
        advice=advice,
        examples=examples,
        speech_tokens=examples
        * sum(s * math.ceil(means[t].frames / down) for t, s in shares.items()),
        text_tokens=examples
        * sum(s * (means[t].prompt + means[t].answer) for t, s in shares.items()),
        hours=hours,
        epochs=hours / data.hours if data.hours else math.nan,
        flops=total,
        seconds=steps * total.total / hardware.flops,
    )


def _batching(path: str, options: Mapping[str, Any], gpus: int, padding: float) -> Batching:
    kind = options.get("batch_type", "numel")
    if kind not in ("numel", "unsorted"):
        raise ConfigError(f"{path}: batch_type: {kind!r} is neither numel nor unsorted")
    key = "batch_bins" if kind == "numel" else "batch_size"
    if not isinstance(options.get(key), (int, float)) or options[key] <= 0:
        raise ConfigError(f"{path}: {key}: is missing, or not a positive number")
    return Batching(
        bins=options[key] / gpus if kind == "numel" else None,
        rows=options[key] / gpus if kind == "unsorted" else None,
        accum=int(options.get("accum_grad", 1)),
        gpus=gpus,
        encoder_cost=float(options.get("encoder_cost", 0.4)),
        padding=padding,
    )


def _lengths(phase: Phase, data: Data) -> Iterator[tuple[Example, str]]:
    """Examples of many lengths: steps hold examples of like length, so each may fill one."""
    for task in phase.tasks:
        mean = data.tasks[task].mean
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


def _changes(model: Model, batching: Batching) -> Iterator[tuple[str, Model, Batching]]:
    """Changes that save memory, the mildest first; they keep the step as it is."""
    for by in (2, 4, 8, 16, 32, 64, 128):
        cut = batching.divided(by)
        yield _smaller(cut), model, cut
        if by in (2, 8):
            yield from _checkpointing(model, batching.divided(by // 2), is_cut=by > 2)


def _checkpointing(
    model: Model, batching: Batching, is_cut: bool
) -> Iterator[tuple[str, Model, Batching]]:
    also = f" and {_smaller(batching)}" if is_cut else ""
    plain = [p.name for p in model.parts if p.name != "adapter" and not p.checkpointed]
    choices: Sequence[Sequence[str]] = [[name] for name in plain]
    if len(plain) > 1:
        choices = [*choices, plain]
    for names in choices:
        parts: list[Part] = [
            dataclasses.replace(p, checkpointed=p.checkpointed or p.name in names)
            for p in model.parts
        ]
        keys = " and ".join(f"{name}_conf: {{gradient_checkpointing: true}}" for name in names)
        yield f"{keys}{also}", dataclasses.replace(model, parts=tuple(parts)), batching


def _smaller(batching: Batching) -> str:
    if batching.rows is not None:
        return f"batch_size: {batching.rows * batching.gpus:.0f}, accum_grad: {batching.accum}"
    assert batching.bins is not None
    return f"batch_bins: {batching.bins * batching.gpus:.0f}, accum_grad: {batching.accum}"
