"""What each phase of a schedule will take: parameters, memory, data, arithmetic and time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from espnet_part.data import ENCODER_COST, Stratum
from espnet_part.data.mixture_table import PhaseMixture
from espnet_part.data.shares import Limits, limited_shares, natural_shares
from espnet_part.errors import ConfigError
from espnet_part.model.protected import NOT_SHARED
from espnet_part.plan.batch import Example, Rates, make_batch
from espnet_part.plan.compute import Flops, batch_flops
from espnet_part.plan.data import Data
from espnet_part.plan.fit import Batching, Load
from espnet_part.plan.memory import GIB, Memory, Training
from espnet_part.plan.operations import Model
from espnet_part.schedule.schedule import Phase, Schedule, Trainable


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
class PhasePlan:
    """What a phase takes; bytes, seconds and numbers of things.

    Attributes:
        parameters: that train, by group. sharded: whether the GPUs share the model (FSDP2).
        memory: of the dearest micro-batch. dearest: that micro-batch in words.
        advice: changes to the options, each of which makes it fit; empty where it fits, and where
            none does.
        least: of the memory that the options can lead to with the same steps.
        examples, speech_tokens, text_tokens: of a step, on all GPUs; speech after the adapter.
        answer_tokens: those of the text that are answers, with their end tokens.
        hours: of audio read in the phase. epochs: of the given hours.
        mixture: what is heard of each stratum; None where the strata are not known.
        flops: of a step, on all GPUs.
    """

    stage: str
    phase: str
    steps: int
    parameters: Mapping[str, int]
    sharded: bool
    memory: Memory
    fits: bool
    dearest: str
    advice: tuple[str, ...]
    least: float
    examples: float
    speech_tokens: float
    text_tokens: float
    answer_tokens: float
    hours: float
    epochs: float
    flops: Flops
    seconds: float
    mixture: PhaseMixture | None


def plan_stage(
    path: str,
    options: Mapping[str, Any],
    schedule: Schedule,
    model: Model,
    data: Data,
    hardware: Hardware,
    *,
    padding: float,
) -> list[PhasePlan]:
    """Plan the phases of a stage file.

    Args:
        options: of part_train, as the file ``path`` gives them. schedule: the file's.
        padding: share of a batch that is padding.

    Raises:
        ConfigError: an option that cannot be planned with.
    """
    if model.is_quantized and options.get("parallel") == "fsdp2":
        raise ConfigError(f"{path}: {NOT_SHARED}")
    trainable = schedule.resolve(list(model.shapes), model.protected)
    training = Training(
        amp=bool(options.get("use_amp", False)),
        gpus=hardware.gpus,
        sharded=options.get("parallel") == "fsdp2",
        bucket_view=bool(options.get("gradient_as_bucket_view", True)),
        optimizer=str(options.get("optim", "adamw")),
        held=frozenset(name for chosen in trainable for name in chosen.names),
    )
    batching = read_batching(path, options, hardware.gpus, padding)
    return [
        _plan_phase(path, phase, chosen, model, data, hardware, training, batching)
        for phase, chosen in zip(schedule.phases, trainable, strict=True)
    ]


def plan_mixture(
    where: str, phase: Phase, rates: Rates, data: Data, batching: Batching
) -> PhaseMixture | None:
    """What a phase hears of each stratum; None where the strata are not known.

    Args:
        where: file and phase, for messages.

    Raises:
        ConfigError: a task that the data lack, or limits that cannot be kept.
    """
    data.shares(phase)  # which refuses a task that is not there
    sizes = {s: found.examples for s, found in data.strata.items() if s[0] in phase.tasks}
    if not sizes:
        return None

    def cost(example: Example) -> float:
        return example.cost(rates, batching.encoder_cost)

    def drawn(mean_cost: float, batching: Batching = batching) -> float:
        if phase.steps is not None:
            return phase.steps * batching.examples(mean_cost)
        return (phase.epochs or 0) * data.examples(phase)

    means = {stratum: data.strata[stratum].mean for stratum in sizes}
    costs = {stratum: cost(mean) for stratum, mean in means.items()}
    shares = natural_shares(sizes, phase.tasks, phase.language_temperature, where)
    bound: dict[Stratum, str] = {}
    if limits := Limits(phase.max_epochs, phase.min_share):
        full = partial(drawn, batching=dataclasses.replace(batching, padding=0.0))
        shares, bound = limited_shares(shares, sizes, limits, full, costs, where)
    mean_cost = sum(share * costs[s] for s, share in shares.items()) / sum(shares.values())
    hours = {stratum: sizes[stratum] * mean.seconds / 3600 for stratum, mean in means.items()}
    return PhaseMixture(phase.name, sizes, hours, drawn(mean_cost), shares, bound)


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
    if phase.loss == "adapter":
        model = model.without_answers()
    shares = data.shares(phase)
    mixture = plan_mixture(f"{stage}: phase {phase.name}", phase, model.rates, data, batching)
    means = data.means(phase, mixture.shares if mixture else {})
    limit = hardware.gpu_memory * GIB
    load = Load(chosen.names, means, training, hardware.reserve * GIB)
    memory, shown = load.dearest(model, batching)
    fits = memory.peak <= limit
    advice, least = ((), memory.peak) if fits else load.changes(model, batching, limit)
    rates = model.rates
    cost = sum(
        share * means[task].cost(rates, batching.encoder_cost) for task, share in shares.items()
    )
    examples = batching.examples(cost)
    steps = phase.steps
    if steps is None:
        steps = math.ceil((phase.epochs or 0) * data.examples(phase) / examples)
    flops = _step_flops(model, chosen, means, shares, examples, batching)
    hours = steps * examples * sum(s * means[t].seconds for t, s in shares.items()) / 3600
    return PhasePlan(
        stage=stage,
        phase=phase.name,
        steps=steps,
        parameters={
            group: sum(math.prod(model.shapes[name]) for name in names)
            for group, names in chosen.groups.items()
        },
        sharded=training.sharded,
        memory=memory,
        fits=fits,
        dearest=shown,
        advice=advice,
        least=least,
        examples=examples,
        speech_tokens=examples
        * sum(s * rates.positions(means[t].seconds) for t, s in shares.items()),
        text_tokens=examples
        * sum(s * (means[t].prompt + means[t].answer) for t, s in shares.items()),
        answer_tokens=examples * sum(s * means[t].answer for t, s in shares.items()),
        hours=hours,
        epochs=hours / data.hours if data.hours else math.nan,
        flops=flops,
        seconds=steps * flops.total / hardware.flops,
        mixture=mixture,
    )


def _step_flops(
    model: Model,
    chosen: Trainable,
    means: Mapping[str, Example],
    shares: Mapping[str, float],
    examples: float,
    batching: Batching,
) -> Flops:
    """Of a step on all GPUs: that of a micro-batch, times their number."""
    parts = batching.gpus * batching.accum
    rows = examples / parts / (1 - batching.padding)  # padding counts as more examples
    flops = [
        batch_flops(
            model,
            chosen.names,
            make_batch(means[task], rows * share, model.rates),
        )
        for task, share in shares.items()
    ]
    return Flops(
        forward=parts * sum(f.forward for f in flops),
        backward=parts * sum(f.backward for f in flops),
        again=parts * sum(f.again for f in flops),
    )


def read_batching(path: str, options: Mapping[str, Any], gpus: int, padding: float) -> Batching:
    """The size of a step, from the options of the stage file ``path``.

    Raises:
        ConfigError: an option that cannot be planned with.
    """
    kind = options.get("batch_type", "numel")
    if kind not in ("numel", "unsorted"):
        raise ConfigError(f"{path}: batch_type: {kind!r} is neither numel nor unsorted")
    key = "batch_bins" if kind == "numel" else "batch_size"
    if not isinstance(options.get(key), (int, float)) or options[key] <= 0:
        raise ConfigError(f"{path}: {key}: is missing, or not a positive number")
    share, parts = options[key] / gpus, 1
    most = options.get("max_bins_per_gpu")
    if kind == "numel" and most is not None:
        if not isinstance(most, (int, float)) or most <= 0:
            raise ConfigError(f"{path}: max_bins_per_gpu: must be a positive number")
        parts = math.ceil(share / most)
    return Batching(
        bins=share / parts if kind == "numel" else None,
        rows=share if kind == "unsorted" else None,
        accum=int(options.get("accum_grad", 1)) * parts,
        gpus=gpus,
        encoder_cost=float(options.get("encoder_cost", ENCODER_COST)),
        padding=padding,
    )
