"""The learning rate of each parameter group in each phase, by ESPnet's schedulers."""

from __future__ import annotations

from typing import Any

import torch
from espnet2.schedulers.abs_scheduler import (
    AbsBatchStepScheduler,
    AbsEpochStepScheduler,
    AbsValEpochStepScheduler,
)

from espnet_part.errors import ConfigError
from espnet_part.schedule.schedule import Phase

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


def start_phase(
    optimizer: torch.optim.Optimizer,
    phase: Phase,
    steps: int,
    scheduler_class: type | None,
    conf: dict[str, Any],
    length_option: str | None,
    previous: Scheduler | None,
) -> Scheduler | None:
    """Set each group's peak rate for ``phase``, and start or continue the scheduler.

    Args:
        steps: Length of the phase.
        length_option: The scheduler's option that is set to ``steps``, such as ``max_steps``.
        previous: The scheduler of the phase before, which continues when the phase says
            ``restart_warmup: false``.

    Raises:
        ConfigError: options that the scheduler does not take.
    """
    groups = optimizer.param_groups
    peaks = [phase.lr.get(group["name"], 0.0) for group in groups]
    if scheduler_class is None or phase.restart_warmup or previous is None:
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = group["initial_lr"] = peak
        if scheduler_class is None:
            return None
        options = {**conf, **phase.scheduler_conf}
        if length_option is not None:
            options[length_option] = steps
        try:
            return scheduler_class(optimizer, **options)
        except TypeError as error:
            raise ConfigError(f"scheduler_conf: phase {phase.name}: {error}") from None
    # All groups share a scheduler's factor; a group that was frozen has none of its own yet.
    factor = max((g["lr"] / g["initial_lr"] for g in groups if g.get("initial_lr")), default=1.0)
    for group, peak in zip(groups, peaks, strict=True):
        group["initial_lr"], group["lr"] = peak, peak * factor
    if hasattr(previous, "base_lrs"):
        previous.base_lrs = peaks
    return previous


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
    ordered = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state["state"] = {i: saved["state"][n] for i, n in enumerate(ordered) if n in saved["state"]}
    rates = {group["name"]: group for group in saved["groups"]}
    for group in state["param_groups"]:
        before = rates.get(group["name"], {})
        group.update({key: before[key] for key in ("lr", "initial_lr") if key in before})
    optimizer.load_state_dict(state)


def after_step(scheduler: Scheduler | None) -> None:
    """Advance a scheduler that counts steps."""
    if isinstance(scheduler, AbsBatchStepScheduler):
        scheduler.step()


def after_epoch(scheduler: Scheduler | None, value: float) -> None:
    """Advance a scheduler that counts epochs, or watches a validation ``value``."""
    if isinstance(scheduler, AbsValEpochStepScheduler):
        scheduler.step(value)
    elif isinstance(scheduler, AbsEpochStepScheduler):
        scheduler.step()
