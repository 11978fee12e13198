"""Memory of a training step on one GPU, by part.

What is counted, and where it comes from:

- weights: encoder and adapter in float32, the LLM in its ``dtype`` or, where it is quantised, its
  layers' matrices in 4 bits; LoRA and whatever trains in float32; all on every GPU, or under FSDP2 a
  share, as of gradients and optimizer states;
- gradients: float32 of what trains; under DDP they are views of its buckets
  (``gradient_as_bucket_view``), or else there are twice as many;
- optimizer: Adam's two moments in float32 of what trains (Kingma & Ba 2015), nothing of what does not;
- gathered: under FSDP2 the LLM's embeddings and output layer, whole for a step, and three times the
  largest block: the one that runs, what it was gathered into, and the next; of what trains in them
  two gradients, as they were computed and as they are sent;
- casts: bfloat16 copies of the float32 weights that autocast makes, kept for the backward pass;
- activations: what the backward pass needs, operation by operation (Korthikanti et al. 2022,
  section 4, has the same sum for a plain Transformer); nothing below the lowest trained operation;
- scores: the LLM's output layer at labelled positions, at most 1024 at once;
- working memory: intermediate results that live for an operation, what one checkpointed layer keeps
  while it is computed again, and of an LLM in 4 bits the matrix that is being multiplied;
- reserve: the GPU's context, communication and the allocator's gaps, as the caller says.

The optimizer's step comes when activations are gone, and needs a float32 of what trains beside the
rest: the larger of the two moments is the peak.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from espnet_part.model.operations import Attention, Linear, Norm, Operation, Part
from espnet_part.plan.batch import Batch
from espnet_part.plan.compute import EMBEDDINGS, LABEL_CHUNK, head_trains
from espnet_part.plan.operations import Model, Step, walk

FLOAT = 4  # bytes of a float32
#: Bytes of a value in 4 bits: NF4, with 8 bits for 64 values and a float32 for 256 of those (Dettmers et al.
#: 2023, section 3).
QUANTIZED = (4 + 8 / 64 + 32 / (64 * 256)) / 8
GIB = 2**30  # what is sold as a GB of GPU memory

#: Values that an optimizer of torch keeps for each value that trains.
OPTIMIZER_STATES = {
    "adam": 2,
    "adamw": 2,
    "adamax": 2,
    "adadelta": 2,
    "adagrad": 1,
    "rmsprop": 1,
    "sgd": 0,
}


@dataclass(frozen=True)
class Training:
    """How a stage trains, as far as memory depends on it.

    Attributes:
        amp: bfloat16 autocast.
        gpus: processes of data parallelism. sharded: whether they share the model (FSDP2).
        bucket_view: DDP's ``gradient_as_bucket_view``.
        optimizer: ESPnet's name of it; an unknown one is taken to keep two values.
        held: names of the parameters that any phase of the stage trains: from its start they are
            float32 (see `espnet_part.train.precision`).
    """

    amp: bool = True
    gpus: int = 1
    sharded: bool = False
    bucket_view: bool = True
    optimizer: str = "adamw"
    held: frozenset[str] = frozenset()

    @property
    def share(self) -> float:
        """Of the model, that a process holds."""
        return 1 / self.gpus if self.sharded else 1.0


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU, by what they are for; see the module."""

    encoder_weights: float
    adapter_weights: float
    llm_weights: float
    gradients: float
    optimizer: float
    gathered: float
    casts: float
    encoder_activations: float
    adapter_activations: float
    llm_activations: float
    scores: float
    working: float
    optimizer_step: float
    reserve: float

    @property
    def fixed(self) -> float:
        """What does not depend on the batch."""
        weights = self.encoder_weights + self.adapter_weights + self.llm_weights
        return weights + self.gradients + self.optimizer + self.gathered + self.reserve

    @property
    def activations(self) -> float:
        return self.encoder_activations + self.adapter_activations + self.llm_activations

    @property
    def peak(self) -> float:
        backward = self.casts + self.activations + self.scores + self.working
        return self.fixed + max(backward, self.optimizer_step)


def batch_memory(
    model: Model,
    trained: Collection[str],
    batch: Batch,
    training: Training,
    reserve: float = 0.0,
) -> Memory:
    """Memory of a step in which the parameters ``trained`` train.

    Args:
        batch: one GPU's micro-batch.
        reserve: bytes to be set aside.
    """
    values = sum(math.prod(model.shapes[name]) for name in trained)
    held = training.held | frozenset(trained)
    kept = saved_activations(model, trained, batch, training.amp, held)
    share = training.share
    whole = training.gpus == 1 or training.sharded
    copies = 1 if whole or training.bucket_view else 2
    return Memory(
        encoder_weights=share * weight_bytes(model, "encoder", held),
        adapter_weights=share * weight_bytes(model, "adapter", held),
        llm_weights=share * weight_bytes(model, "llm", held),
        gradients=share * FLOAT * values * copies,
        optimizer=share * FLOAT * values * OPTIMIZER_STATES.get(training.optimizer, 2),
        gathered=_gathered(model, trained, held) if training.sharded and training.gpus > 1 else 0.0,
        casts=weight_casts(model, trained, held=held) if training.amp else 0.0,
        encoder_activations=kept["encoder"],
        adapter_activations=kept["adapter"],
        llm_activations=kept["llm"],
        scores=_scores(model, batch),
        working=_working(model, trained, batch, training.amp, held),
        optimizer_step=share * FLOAT * values,
        reserve=reserve,
    )


def weight_bytes(model: Model, part: str, held: Collection[str]) -> float:
    """Of all weights of a part, its LoRA included; those ``held`` are float32."""
    return sum(_held_bytes(model, n, held) for n in model.shapes if n.startswith(f"{part}."))


def _held_bytes(model: Model, name: str, held: Collection[str]) -> float:
    part = model[name.split(".")[0]]
    module, _, own = name.rpartition(".")
    quantized = own == "weight" and module.removesuffix(".base_layer") in part.quantized
    base = QUANTIZED if quantized else part.weight_bytes
    return math.prod(model.shapes[name]) * (FLOAT if ".lora_" in name or name in held else base)


def _gathered(model: Model, trained: Collection[str], held: Collection[str]) -> float:
    """Bytes of blocks that are whole for a moment, and of the LLM's rest, which is for a step."""
    weights: dict[str, float] = collections.defaultdict(float)
    gradients: dict[str, float] = collections.defaultdict(float)
    for name, shape in model.shapes.items():
        block = re.match(r"(encoder|llm)\.(.*\.)?layers\.\d+\.", name)
        unit = block[0] if block else name.split(".")[0]
        weights[unit] += _held_bytes(model, name, held)
        gradients[unit] += 2 * FLOAT * math.prod(shape) * (name in trained)
    rest = weights.pop("llm", 0.0) + gradients.pop("llm", 0.0)
    return rest + max(3 * weights[unit] + gradients[unit] for unit in weights)


def saved_activations(
    model: Model,
    trained: Collection[str],
    batch: Batch,
    amp: bool,
    held: Collection[str] = (),
) -> dict[str, float]:
    """Bytes that the backward pass needs, by part, without the scores of the output layer."""
    full: dict[tuple[str, int], float] = {}
    graph: set[tuple[str, int]] = set()
    for step in walk(model, trained, held):
        key = step.part.name, step.block
        full[key] = full.get(key, 0.0) + _kept(step, batch, amp)
        if step.graph:
            graph.add(key)
    result = {part.name: 0.0 for part in model.parts}
    for part in model.parts:
        positions = batch.positions(part.name)
        for number, block in enumerate(part.blocks):
            key = part.name, number
            if part.checkpointed and block.layer:
                states = positions * block.times * part.width
                result[part.name] += states * _residual(part, {*trained, *held}) * (key in graph)
            else:
                result[part.name] += full[key]
    return result


def _kept(step: Step, batch: Batch, amp: bool) -> float:
    """Bytes that an operation keeps for the backward pass."""
    name = step.part.name
    half = _compute_bytes(step.part, amp)
    return (
        batch.positions(name)
        * (_kept_a_position(step, half, amp) + _mask_bias(step.operation, batch.span(name), half))
        if step.graph
        else 0.0
    )


def _kept_a_position(step: Step, half: int, amp: bool) -> float:
    operation = step.operation
    if isinstance(operation, Linear):
        # Autocast casts a float32 input anew for every product that reads it.
        own = not (operation.shared and (half == FLOAT or step.weight_bytes == 2))
        kept = operation.kept
        inputs = operation.inputs * operation.times if kept is None else kept
        weight = half * inputs * step.weight * own
        return weight + step.lora * half * (operation.inputs + operation.rank)
    if isinstance(operation, Norm):
        # the input in float32 and its statistics; an RMSNorm's weight multiplies a cast of it
        scaled = half * operation.width * step.weight * operation.rms
        return operation.times * (FLOAT * (operation.width + 2) + scaled)
    if not step.inputs:
        return 0.0
    if isinstance(operation, Attention):
        queries = operation.times
        keys = queries if operation.keys is None else operation.keys
        # queries and results, keys and values; a number a query and head to compute them again
        values = 2 * half * operation.width * (queries + keys)
        return values + FLOAT * operation.heads * queries
    return half * operation.kept + operation.mask


def _mask_bias(operation: Operation, span: float, half: int) -> float:
    """A mask of padding becomes a bias for each pair of positions, kept by every layer."""
    if not isinstance(operation, Attention) or operation.span:
        return 0.0
    return half * span * operation.times**2


def _compute_bytes(part: Part, amp: bool) -> int:
    return 2 if amp or part.weight_bytes == 2 else FLOAT


def _residual(part: Part, held: Collection[str]) -> int:
    """Bytes of a value between layers: the sum of a float32 and a bfloat16 is a float32, so they are
    what the embeddings below are."""
    return 2 if part.weight_bytes == 2 and EMBEDDINGS not in held else FLOAT


def weight_casts(
    model: Model, trained: Collection[str], checkpointed: bool = True, held: Collection[str] = ()
) -> float:
    """Bytes of the bfloat16 copies of float32 weights that autocast makes in the graph.

    Args:
        checkpointed: also those of checkpointed layers, which last until the forward pass ends.
    """
    total = 0.0
    for step in walk(model, trained, held):
        operation, part = step.operation, step.part
        again = part.checkpointed and part.blocks[step.block].layer
        if not isinstance(operation, Linear) or operation.name in part.quantized:
            continue  # a weight in 4 bits is not kept in another form
        if step.weight_bytes == FLOAT and step.graph:
            total += 2.0 * operation.inputs * operation.outputs * (checkpointed or not again)
    if head_trains(model, {*trained, *held}):
        total += 2.0 * model.head.inputs * model.head.outputs
    return total


def _scores(model: Model, batch: Batch) -> float:
    """bfloat16 scores, their float32, log-probabilities and gradient, of a part of the labels."""
    return min(batch.labels, LABEL_CHUNK) * model.head.outputs * (2 + 2 * FLOAT)


def _working(
    model: Model, trained: Collection[str], batch: Batch, amp: bool, held: Collection[str]
) -> float:
    """The widest intermediate result with its gradient, one checkpointed layer, and one matrix that is
    no longer in 4 bits."""
    layers: dict[tuple[str, int], float] = {}
    matrix = 0.0
    for step in walk(model, trained, held):
        operation = step.operation
        if isinstance(operation, Linear) and operation.name in step.part.quantized:
            size = _compute_bytes(step.part, amp) * operation.inputs * operation.outputs
            matrix = max(matrix, size)
        if step.part.checkpointed and step.part.blocks[step.block].layer:
            key = step.part.name, step.block
            layers[key] = layers.get(key, 0.0) + _kept(step, batch, amp)
    widest = max(2 * FLOAT * batch.positions(p.name) * p.widest for p in model.parts)
    return widest + max(layers.values(), default=0.0) + matrix
