"""The learning rate of each parameter group in each phase, by ESPnet's schedulers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from espnet2.schedulers.abs_scheduler import (
    AbsBatchStepScheduler,
    AbsEpochStepScheduler,
    AbsValEpochStepScheduler,
)

from espnet_part.errors import ConfigError
from espnet_part.schedule.schedule import Phase
from espnet_part.train.sharding import rows_of

Names = dict[torch.Tensor, str]
Scheduler = Any  # torch's schedulers share no public base class with ReduceLROnPlateau


def parameter_groups(
    parameters: dict[str, torch.nn.Parameter], exclude_weight_decay: bool
) -> list[dict[str, Any]]:
    """Optimizer groups by the first part of the name (``adapter``, ``encoder``, ``llm``).

    The layout covers all that ever trains in the stage and stays the same over its phases, so a resumed
    optimizer always fits; what is frozen has no gradient and gets no state.

    Args:
        exclude_weight_decay: Put biases and normalisation weights (one dimension) in groups
            without weight decay.
    """
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters.items():
        plain = exclude_weight_decay and parameter.ndim <= 1
        groups.setdefault((name.split(".")[0], plain), []).append(parameter)
    return [
        {"params": members, "name": name, **({"weight_decay": 0.0} if plain else {})}
        for (name, plain), members in groups.items()
    ]


class Rates:
    """The learning rates of phases that share one scheduler.

    Args:
        optimizer: Its groups are named.
        scheduler_class: An ESPnet scheduler; None for constant rates.
        conf: The scheduler's options.
        length_option: The scheduler's option that is set to `length`, such as ``max_steps``.
        length: Steps of all phases that share the scheduler.

    Attributes:
        updates: Steps that the scheduler has counted.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scheduler_class: type | None,
        conf: dict[str, Any],
        length_option: str | None,
        length: int,
    ) -> None:
        self.optimizer = optimizer
        self.scheduler_class = scheduler_class
        self.conf = conf
        self.length_option = length_option
        self.length = length
        self.updates = 0
        self.scheduler: Scheduler | None = None

    def start_phase(self, phase: Phase, length: int) -> None:
        """Set each group's peak rate, and start the scheduler or let it go on.

        Args:
            length: Steps of all phases that share the scheduler, as far as is known by now.

        Raises:
            ConfigError: options that the scheduler does not take.
        """
        groups = self.optimizer.param_groups
        peaks = [phase.lr.get(group["name"], 0.0) for group in groups]
        if self.scheduler is None:
            self.length = length
            self._make(phase.name, peaks)
            return
        # All groups share a scheduler's factor; a group that was frozen has none of its own yet.
        factor = max(
            (g["lr"] / g["initial_lr"] for g in groups if g.get("initial_lr")), default=1.0
        )
        for group, peak in zip(groups, peaks, strict=True):
            group["initial_lr"], group["lr"] = peak, peak * factor
        if hasattr(self.scheduler, "base_lrs"):
            self.scheduler.base_lrs = peaks
        self.stretch(length)

    def stretch(self, length: int) -> None:
        """Go on as if the scheduler had had another length from its start."""
        if length == self.length or self.length_option is None:
            return
        self.length = length
        if isinstance(self.scheduler, AbsBatchStepScheduler):
            self._make("", [group["initial_lr"] for group in self.optimizer.param_groups])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # no step of the optimizer goes before these
                for _ in range(self.updates):
                    self.scheduler.step()

    def _make(self, where: str, peaks: Sequence[float]) -> None:
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group["lr"] = group["initial_lr"] = peak
        if self.scheduler_class is None:
            return
        options = dict(self.conf)
        if self.length_option is not None:
            options[self.length_option] = self.length
        try:
            self.scheduler = self.scheduler_class(self.optimizer, **options)
        except TypeError as error:
            raise ConfigError(f"scheduler_conf: phase {where}: {error}") from None

    def after_step(self) -> None:
        """Advance a scheduler that counts steps."""
        if isinstance(self.scheduler, AbsBatchStepScheduler):
            self.scheduler.step()
            self.updates += 1

    def after_epoch(self, value: float) -> None:
        """Advance a scheduler that counts epochs, or watches a validation ``value``."""
        if isinstance(self.scheduler, AbsValEpochStepScheduler):
            self.scheduler.step(value)
        elif isinstance(self.scheduler, AbsEpochStepScheduler):
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "updates": self.updates,
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; the length may have changed since."""
        length, self.length, self.updates = self.length, state["length"], state["updates"]
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
            self.stretch(length)


def forget_frozen(optimizer: torch.optim.Optimizer) -> None:
    """Drop the optimizer's state of what does not train; what stays trainable keeps its own."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                optimizer.state.pop(parameter, None)


def optimizer_state(optimizer: torch.optim.Optimizer, names: Names) -> dict[str, Any]:
    """The optimizer's state by parameter name, so that it fits when later phases change."""
    rates = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    return {"state": {names[p]: s for p, s in optimizer.state.items()}, "groups": rates}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, names: Names, saved: dict[str, Any]
) -> None:
    """Put back what `optimizer_state` gave; groups of one name share their rates."""
    state = optimizer.state_dict()
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    state["state"] = {
        number: {
            key: rows_of(value, p) if getattr(value, "shape", None) == p.shape else value
            for key, value in saved["state"][names[p]].items()
        }
        for number, p in enumerate(ordered)
        if names[p] in saved["state"]
    }
    rates = {group["name"]: group for group in saved["groups"]}
    for group in state["param_groups"]:
        before = rates.get(group["name"], {})
        group.update({key: before[key] for key in ("lr", "initial_lr") if key in before})
    optimizer.load_state_dict(state)
