"""One process or several: the only module that knows of ranks."""

from __future__ import annotations

import contextlib
import dataclasses
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclasses.dataclass(frozen=True)
class Parallel:
    """How the processes of a run work together.

    Attributes:
        rank: This process among ``world``.
        device: Where its model lives.
        ddp_options: Keyword arguments for DistributedDataParallel.
        comm_hook: None, "fp16_compress_hook" or "bf16_compress_hook".
    """

    rank: int = 0
    world: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    ddp_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    comm_hook: str | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Make ``model`` average its gradients over the processes.

        To be called anew whenever the trainable set changes: DDP registers its hooks for what is trainable
        when it wraps, and parameters thawed later would diverge silently between ranks.
        """
        if self.world == 1:
            return model
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=device_ids, **self.ddp_options)
        if self.comm_hook is not None:
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            wrapped.register_comm_hook(None, getattr(default_hooks, self.comm_hook))
        return wrapped

    def no_sync(self, module: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Let gradients add up locally in all micro-batches of a step but the ``last``."""
        if self.world == 1 or last:
            return contextlib.nullcontext()
        return module.no_sync()  # type: ignore[operator]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of ``values`` over the processes, on the CPU."""
        if self.world > 1:
            # The layout is the same on every rank, whatever tasks its batches hold, so one collective
            # serves all values and no rank waits for another's key.
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()
