"""Making a model train exactly what a phase says."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


def activate(model: nn.Module, names: Collection[str]) -> None:
    """Let exactly the parameters ``names`` train, and freeze the rest.

    A gradient left on a frozen parameter would still move it at the next optimizer step, so
    every gradient is dropped.

    Raises:
        KeyError: a name that the model does not have.
    """
    chosen = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
        parameter.grad = None
        chosen.discard(name)
    if chosen:
        raise KeyError(f"the model has no parameter {sorted(chosen)[0]}")
    set_modes(model)


def set_modes(model: nn.Module) -> None:
    """Put what trains in training mode, and what is frozen in inference mode.

    A module trains when a parameter at or below it does; one without parameters (dropout, an activation)
    follows the module that holds it. So a frozen block neither drops nor updates batch statistics.
    """
    _set_modes(model, inherited=True)


def _set_modes(module: nn.Module, inherited: bool) -> None:
    parameters = list(module.parameters())
    mode = any(p.requires_grad for p in parameters) if parameters else inherited
    if not mode and parameters:
        module.eval()
        return
    module.training = mode
    for child in module.children():
        _set_modes(child, mode)
