"""Weights, gradients and optimizer states spread over the processes, block by block (torch's FSDP2)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm

from espnet_part.errors import ConfigError
from espnet_part.train.parallel import Parallel
from espnet_part.train.precision import hold_in_float32


def shard(model: Any, device_type: str, in_float32: Collection[str] = ()) -> None:
    """Leave each process its rows of each parameter of a `SpeechLLM`, in place and in their dtypes.

    A block is gathered before it runs and freed afterwards, the table of embeddings and the output layer
    stay for a whole step. What trains may change later: a block's gathered parameters require gradients
    as its own rows do.

    Args:
        model: on the CPU, from where one block at a time is moved; its optimizer comes afterwards.
        device_type: "cpu" or "cuda", where the rows live.
        in_float32: names of those to be held in float32, of which a block at a time is whole.

    Raises:
        ConfigError: a parameter that cannot be cut into rows.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            raise ConfigError(f"parallel: fsdp2 cannot shard the scalar {name}; use ddp")
    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    prefixes = {module: name for name, module in model.named_modules()}
    for module in (*reversed(model.shards), model):
        hold_in_float32(module, in_float32, prefixes[module])
        fully_shard(module, mesh=mesh)
    model.in_step = True
    # between passes the parameters are the rows; a training pass frees the rest when it comes back
    model.register_forward_hook(lambda *_: None if torch.is_grad_enabled() else model.reshard())


def take_all_at_once(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer on GPUs update all parameters at once, as torch does unless they are sharded."""
    for group in optimizer.param_groups:
        on_gpu = all(parameter.is_cuda for parameter in group["params"])
        if on_gpu and group.get("foreach", False) is None and not group.get("fused"):
            group["foreach"] = True


def rows_of(whole: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A tensor as ``parameter`` is held, which has its shape: of a sharded one this process's rows."""
    if not isinstance(parameter, DTensor):
        return whole
    mesh = parameter.device_mesh
    parts, rank = whole.chunk(mesh.size()), mesh.get_local_rank()
    own = parts[rank] if rank < len(parts) else whole[:0]
    return DTensor.from_local(
        own.to(parameter.device, copy=True),
        mesh,
        parameter.placements,
        run_check=False,
        shape=whole.shape,
        stride=whole.stride(),
    )


@dataclasses.dataclass(frozen=True)
class Sharded(Parallel):
    """Processes that hold a model together, which `shard` has spread over them."""

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def no_sync(self, module: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Average in every micro-batch: gradients that wait for the last one are not sharded."""
        return contextlib.nullcontext()

    def clip(self, parameters: Iterable[nn.Parameter], most: float, kind: float) -> float:
        norm = nn.utils.clip_grad_norm_(parameters, most, kind, foreach=True)
        return float(_whole(norm))

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        return _whole(tensor)

    def kept(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.cpu()

    def is_over(self, wish: bool) -> bool:
        return self.any(wish)[0]

    def share_statistics(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, _BatchNorm) and module.training:
                for buffer in module.buffers():
                    dist.broadcast(buffer, 0)


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
