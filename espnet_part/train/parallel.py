"""One process, or several that each hold the model (DDP); `sharding` has those that share one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from espnet_part.errors import DataError, UserError
from espnet_part.train.nested import map_tensors

Result = TypeVar("Result")
SECONDS_TO_ANSWER = 5.0


def node() -> str:
    """This machine's name, on a cluster of Slurm the node's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _is_of_communication(error: Exception) -> bool:
    """Whether it says that another process cannot be reached."""
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "timed out")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


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

    def wait_at_most(self, seconds: float) -> None:
        """Let this process give up where another does not answer for so long."""
        if self.world > 1:
            dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=seconds))

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

    @property
    def loss_scale(self) -> float:
        """What makes a sum over all processes of a loss whose gradients they average."""
        return float(self.world)

    def clip(self, parameters: Iterable[nn.Parameter], most: float, kind: float) -> float:
        """Clip gradients to a norm of at most ``most``.

        Args:
            kind: of the norm, such as 2 or infinity.

        Returns:
            The norm that they had, all of the model together.
        """
        return float(nn.utils.clip_grad_norm_(parameters, most, kind))

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """All of a weight or of its optimizer's state; all processes ask for the same, in one order."""
        return tensor

    def kept(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of a checkpoint that was read, where it waits until it is put back."""
        return tensor

    def is_over(self, wish: bool) -> bool:
        """Whether a loop of forward passes ends, where the processes may have to end it together."""
        return wish

    def share_statistics(self, model: nn.Module) -> None:
        """Let all processes have the main one's running statistics, as each step of DDP does."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of ``values`` over the processes, on the CPU."""
        if self.world > 1:
            # The layout is the same on every rank, whatever tasks its batches hold, so one collective
            # serves all values and no rank waits for another's key.
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def any(self, *wishes: bool) -> list[bool]:
        """Of each wish, whether a process has it."""
        return [wish > 0 for wish in self.sum(torch.tensor(wishes, dtype=torch.float64)).tolist()]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order, on each of them."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def from_main(self, value: Any) -> Any:
        """The main process's value."""
        values = [value if self.is_main else None]
        if self.world > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def together(self, work: Callable[[], Result]) -> Result:
        """Do work on every process; where it fails for one, it fails for all, in its words.

        Raises:
            DataError: names the process, its host and its reason.
            UserError, OSError: the work's own, of a single process.
        """
        result, fault = None, None
        try:
            result = work()
        except (UserError, OSError) as error:
            if self.world == 1:
                raise
            fault = f"process {self.rank} of {self.world} on {node()}: {error}"
        faults = [fault for fault in self.gather(fault) if fault is not None]
        if faults:
            raise DataError(faults[0])
        return cast(Result, result)

    def read_once(self, read: Callable[[], Result]) -> Result:
        """What the main process reads, on every process: of many, each would ask the disk for it.

        Tensors in it travel one at a time. They end on the processes' devices (or see `kept`), but for
        those of one number, such as an optimizer's counters, which stay on the CPU.

        Raises:
            DataError: it cannot be read.
        """
        found = self.together(lambda: read() if self.is_main else None)
        if self.world == 1:
            return cast(Result, found)
        sent: list[torch.Tensor] = []

        def outline(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.numel() < 2:
                return tensor
            sent.append(tensor)
            return tensor.to("meta")

        def travel(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_meta:
                return tensor
            if self.is_main:
                whole = sent.pop(0).to(self.device).contiguous()
            else:
                whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=self.device)
            dist.broadcast(whole.view(-1).view(torch.uint8), 0)  # gloo lacks some types
            return self.kept(whole)

        return cast(Result, map_tensors(travel, self.from_main(map_tensors(outline, found))))

    def check_same(self, sections: Mapping[str, str], what: str) -> None:
        """Refuse to go on where the processes do not work on the same.

        Args:
            sections: digests by name, under the same names on every process.
            what: said of the sections that differ, such as "runs with another".

        Raises:
            DataError: names the first process that differs from the main one, and the sections.
        """
        everyone = self.gather((node(), dict(sections)))
        first_host, first = everyone[0]
        for rank, (host, own) in enumerate(everyone):
            differing = [name for name in first if own.get(name) != first[name]]
            if differing:
                raise DataError(
                    f"process {rank} of {self.world} on {host} {what} {', '.join(differing)} than "
                    f"process 0 on {first_host}: all must see the same files and options"
                )

    @contextlib.contextmanager
    def naming_lost(self, step: Callable[[], int]) -> Iterator[None]:
        """Say in one line that another process is gone, where it left this one waiting.

        Args:
            step: the number of the step that is being done.

        Raises:
            DataError: names the processes that do not answer, and their nodes.
        """
        where: dict[int, str] = {}
        try:
            nodes = self.gather(node())
            where |= {rank: f" on {name}" for rank, name in enumerate(nodes)}
            yield
        except UserError:
            raise
        except Exception as error:
            if self.world == 1 or not _is_of_communication(error):
                raise
            gone = ", ".join(f"{rank}{where.get(rank, '')}" for rank in self._silent())
            raise DataError(
                f"process {gone or 'another'} is gone (one of {self.world}, after step {step()}; this is "
                f"process {self.rank} on {node()}); its own last lines say why. The training "
                "goes on from its last checkpoint when it is started again"
            ) from None

    def _silent(self) -> list[int]:
        """The processes that do not say within some seconds that they are there."""
        others = set(range(self.world)) - {self.rank}
        try:
            store = dist.distributed_c10d._get_default_store()
            store.set(f"there/{self.rank}", "yes")
            deadline = time.monotonic() + SECONDS_TO_ANSWER
            while others and time.monotonic() < deadline:
                others -= {rank for rank in others if store.check([f"there/{rank}"])}
                time.sleep(0.05)
        except (RuntimeError, OSError):
            others = {0}  # the store is the main process's
        return sorted(others)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()
