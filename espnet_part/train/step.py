"""One optimizer step over a global batch, and what is counted on the way."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from torch import nn

from espnet_part.model.splice import IGNORE
from espnet_part.train.parallel import Parallel
from espnet_part.train.stopwatch import Stopwatch

Batch = dict[str, Any]
#: From a step's loss (nats a token) and gradient's norm to what is wrong with it (see `Outliers`).
Fault = Callable[[float, float], str | None]
PER_TASK = ("loss", "tokens", "correct")
TOTALS = ("examples", "bad", "audio_seconds", "llm", "llm_padded", "encoder", "encoder_padded")


@dataclasses.dataclass
class Counts:
    """Sums over micro-batches; added up over ranks they describe a step or a validation pass.

    Attributes:
        tasks: The stage's tasks, in a fixed order.
        values: (3 * len(tasks) + 7,) float64: by task the summed loss in nats, target tokens and correct
            tokens, then `TOTALS`: LLM positions and encoder frames without and with padding last.
    """

    tasks: tuple[str, ...]
    values: torch.Tensor

    @classmethod
    def zero(cls, tasks: tuple[str, ...]) -> Counts:
        size = len(PER_TASK) * len(tasks) + len(TOTALS)
        return cls(tasks, torch.zeros(size, dtype=torch.float64))

    def add(self, batch: Batch, output: Any) -> None:
        """Add a micro-batch and the model's output for it."""
        rows = torch.stack([output.row_loss, output.row_tokens, output.row_correct])
        # a batch whose utterances were all bad has one row and no task
        for row, task in zip(rows.T.double().tolist(), batch["tasks"], strict=False):
            start = len(PER_TASK) * self.tasks.index(task)
            self.values[start : start + len(PER_TASK)] += torch.tensor(row, dtype=torch.float64)
        totals = [
            len(batch["utt_ids"]),
            len(batch["bad"]),
            batch["audio_seconds"],
            *(batch["padding"][key] for key in TOTALS[3:]),
        ]
        self.values[-len(TOTALS) :] += torch.tensor(totals, dtype=torch.float64)

    def over_ranks(self, parallel: Parallel) -> Counts:
        return Counts(self.tasks, parallel.sum(self.values))

    def __getitem__(self, key: str) -> float:
        """A total by name, ``tokens``/``loss``/``correct`` over all tasks, or ``tokens_asr``."""
        if key in TOTALS:
            return float(self.values[TOTALS.index(key) - len(TOTALS)])
        kind, _, task = key.partition("_")
        column = self.values[: -len(TOTALS)].view(-1, len(PER_TASK))[:, PER_TASK.index(kind)]
        return float(column[self.tasks.index(task)] if task else column.sum())

    def means(self) -> dict[str, float]:
        """Loss (nats a token) and token accuracy, over all and by task.

        NaN for an absent task, and for the accuracy where the LLM was not run.
        """
        result = {}
        for suffix in ("", *(f"_{task}" for task in self.tasks)):
            tokens = self["tokens" + suffix] or math.nan
            result["loss" + suffix] = self["loss" + suffix] / tokens
            result["acc" + suffix] = self["correct" + suffix] / tokens
        return result

    @property
    def padding_share(self) -> float:
        """The share of computed positions and frames that is padding."""
        padded = self["llm_padded"] + self["encoder_padded"]
        return 1 - (self["llm"] + self["encoder"]) / padded if padded else 0.0


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What a step did, the same on every rank but for the times.

    Attributes:
        grad_norm: Before clipping.
        fault: Why the weights were left alone; None also where there was no token to learn from.
    """

    counts: Counts
    grad_norm: float
    fault: str | None
    forward_time: float
    backward_time: float
    optim_step_time: float

    @property
    def updated(self) -> bool:
        """Whether the weights have moved."""
        return self.fault is None and self.counts["tokens"] > 0


def seed_step(seed: int, step: int, parallel: Parallel) -> None:
    """Make the random state (dropout, SpecAugment) a function of the seed, the step and the rank.

    A resumed run so continues with the same numbers without keeping any random state.
    """
    set_all_random_seed((seed * 1_000_003 + step * 1_009 + parallel.rank) % 2**32)


def train_step(
    module: nn.Module,
    micro_batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    tasks: tuple[str, ...],
    parallel: Parallel,
    *,
    amp: bool,
    grad_clip: float,
    grad_clip_type: float,
    fault: Fault,
) -> StepResult:
    """Sum the loss over all target tokens of the global batch, divide once, and step.

    The quotient is formed from the token count over all ranks and micro-batches, so neither the number of
    processes nor the accumulation changes the gradient. A step in which ``fault`` sees one, or that has
    no token since all its utterances were bad, leaves the weights alone.
    """
    counts = Counts.zero(tasks)
    labelled = sum(int((batch["labels"] != IGNORE).sum()) for batch in micro_batches)
    tokens = float(parallel.sum(torch.tensor(float(labelled), dtype=torch.float64)))
    scale = parallel.loss_scale / max(tokens, 1.0)
    forward, backward = Stopwatch(parallel.device), Stopwatch(parallel.device)
    for number, batch in enumerate(micro_batches, 1):
        with parallel.no_sync(module, last=number == len(micro_batches)):
            autocast = torch.autocast(parallel.device.type, torch.bfloat16, enabled=amp)
            with forward.running(), autocast:
                output = module(**to_device(batch, parallel.device))
            with backward.running():
                (output.loss * scale).backward()
        counts.add(batch, output)
    start = time.perf_counter()
    counts = counts.over_ranks(parallel)
    trained = [p for p in module.parameters() if p.grad is not None]
    grad_norm = parallel.clip(trained, grad_clip, grad_clip_type)
    # both numbers are the same on every rank, so all ranks take the same branch
    found = fault(counts.means()["loss"], grad_norm) if counts["tokens"] else None
    result = StepResult(counts, grad_norm, found, forward.seconds(), backward.seconds(), 0.0)
    if result.updated:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return dataclasses.replace(result, optim_step_time=time.perf_counter() - start)


@torch.no_grad()
def validate(
    model: nn.Module,
    batches: Iterable[Batch],
    tasks: tuple[str, ...],
    parallel: Parallel,
    *,
    amp: bool,
    is_over: Callable[[], bool] = lambda: False,
) -> tuple[Counts, list[tuple[str, str]]]:
    """Count loss and accuracy over this rank's ``batches``, then over all ranks.

    Also returns this rank's bad utterances and what is wrong with each. Ends early where ``is_over``.

    Args:
        model: the bare one. batches: as many on every rank.
    """
    parallel.share_statistics(model)
    model.eval()
    counts = Counts.zero(tasks)
    bad: list[tuple[str, str]] = []
    for batch in batches:
        if parallel.is_over(is_over()):
            break
        bad += batch["bad"]
        with torch.autocast(parallel.device.type, torch.bfloat16, enabled=amp):
            output = model(**to_device(batch, parallel.device))
        counts.add(batch, output)
    return counts.over_ranks(parallel), bad


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch's tensors, and leave its plain values."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
