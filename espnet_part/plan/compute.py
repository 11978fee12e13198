"""Floating-point operations of a training step.

A matrix product of N positions costs 2 N x inputs x outputs forward, as much again for the gradient
of its input, and as much for that of its weight; attention costs 4 N x span x width forward and
twice that backward (Kaplan et al. 2020, section 2.1; Chowdhery et al. 2022, appendix B). What is
frozen has no weight gradient, what is below the lowest trained operation no backward pass at all,
and a checkpointed layer runs forward twice, but for its last product. Norms and activation
functions are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from espnet_part.model.operations import Attention, Block, Linear, Operation
from espnet_part.plan.batch import Batch
from espnet_part.plan.operations import Model, Step, walk

#: `espnet_part.model.loss.CHUNK`: more labels than these are scored again in the backward pass.
LABEL_CHUNK = 1024
EMBEDDINGS = "llm.model.model.embed_tokens.weight"


@dataclass(frozen=True)
class Flops:
    """Of one batch: forward, backward, and what gradient checkpointing computes again."""

    forward: float
    backward: float
    again: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.again


def batch_flops(model: Model, trained: Collection[str], batch: Batch) -> Flops:
    """Count a batch's operations when the parameters ``trained`` train."""
    forward = backward = again = 0.0
    graph = False
    for step in walk(model, trained):
        there, back = _of_step(step, batch)
        forward += there
        backward += back
        graph = step.graph
        block = step.part.blocks[step.block]
        # torch stops where the last input is known again: before the last product
        if step.graph and step.part.checkpointed and block.layer and step.operation != _last(block):
            again += there
    head = 2.0 * batch.labels * model.head.inputs * model.head.outputs
    weight = head_trains(model, trained)
    forward += head
    backward += head * (graph + weight)
    if batch.labels > LABEL_CHUNK and (graph or weight):
        again += head
    return Flops(forward, backward, again)


def _of_step(step: Step, batch: Batch) -> tuple[float, float]:
    """Forward and backward of an operation."""
    positions = batch.positions(step.part.name)
    operation = step.operation
    if isinstance(operation, Attention):
        span = operation.span or operation.times * batch.span(step.part.name)
        forward = 4.0 * positions * operation.times * span * operation.width
        return forward, 2 * forward * step.inputs
    if not isinstance(operation, Linear):
        return 0.0, 0.0
    base = 2.0 * positions * operation.times * operation.inputs * operation.outputs
    lora = 2.0 * positions * operation.rank * (operation.inputs + operation.outputs)
    backward = base * (step.inputs + step.weight) + lora * (step.inputs + step.lora)
    return base + lora, backward


def _last(block: Block) -> Operation:
    return [operation for operation in block.operations if isinstance(operation, Linear)][-1]


def head_trains(model: Model, trained: Collection[str]) -> bool:
    """Whether the output layer trains; it may be the table of embeddings."""
    own = f"{model.head.name}.weight"
    return (own if own in model.shapes else EMBEDDINGS) in trained
