"""A phase trains what it says and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from espnet_part.schedule.activation import activate, set_modes


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.norm(self.linear(x)))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def names(model: nn.Module, prefix: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefix)}


def test_frozen_blocks_run_as_in_inference() -> None:
    model = Model()
    activate(model, names(model, "layers.1"))
    assert not any(module.training for module in model.layers[0].modules())
    assert all(module.training for module in model.layers[1].modules())


def test_a_frozen_batch_norm_keeps_its_statistics() -> None:
    model = Model()
    activate(model, names(model, "layers.1"))
    model(torch.randn(8, 4))
    assert torch.equal(model.layers[0].norm.running_mean, torch.zeros(4))
    assert not torch.equal(model.layers[1].norm.running_mean, torch.zeros(4))


def test_the_frozen_prefix_runs_without_a_graph() -> None:
    model = Model()
    activate(model, names(model, "layers.1"))
    assert model.layers[0](torch.randn(8, 4)).grad_fn is None


def test_a_stale_gradient_does_not_move_a_frozen_parameter() -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    activate(model, names(model, ""))
    model(torch.randn(8, 4)).square().sum().backward()
    activate(model, names(model, "layers.1"))
    before = model.layers[0].linear.weight.clone()
    model(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    assert torch.equal(model.layers[0].linear.weight, before)


def test_modes_come_back_after_validation() -> None:
    model = Model()
    activate(model, names(model, "layers.1"))
    before = [module.training for module in model.modules()]
    model.eval()
    set_modes(model)
    assert [module.training for module in model.modules()] == before


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        activate(Model(), {"layers.7.linear.weight"})
