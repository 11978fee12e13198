"""Each group has its own rate, in each phase, under each kind of scheduler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from espnet2.tasks.abs_task import scheduler_classes

from espnet_part.schedule.schedule import Phase
from espnet_part.train.learning_rate import (
    after_epoch,
    after_step,
    forget_frozen,
    load_optimizer_state,
    optimizer_state,
    parameter_groups,
    start_phase,
)


def phase(name: str, **lr: float) -> Phase:
    return Phase(name=name, train=list(lr), lr=lr, tasks=["asr"], steps=10)


@pytest.fixture
def parameters() -> dict[str, torch.nn.Parameter]:
    return {
        "encoder.weight": torch.nn.Parameter(torch.ones(2, 2)),
        "adapter.weight": torch.nn.Parameter(torch.ones(2, 2)),
        "adapter.bias": torch.nn.Parameter(torch.ones(2)),
    }


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def test_biases_have_no_weight_decay(parameters: dict[str, Any]) -> None:
    groups = parameter_groups(parameters, exclude_weight_decay=True)
    assert [(g["name"], g.get("weight_decay")) for g in groups] == [
        ("encoder", None),
        ("adapter", None),
        ("adapter", 0.0),
    ]


def test_warm_up_restarts_with_the_phase(parameters: dict[str, Any]) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(parameters, False))
    warmup = scheduler_classes["warmuplr"]
    conf = {"warmup_steps": 4}
    scheduler = start_phase(optimizer, phase("a", adapter=1.0), 10, warmup, conf, None, None)
    first = rates(optimizer)
    for _ in range(6):
        after_step(scheduler)
    start_phase(optimizer, phase("b", adapter=1.0), 10, warmup, conf, None, scheduler)
    assert rates(optimizer) == first == {"encoder": 0.0, "adapter": 0.25}


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("warmuplr", {"warmup_steps": 4}),
        ("exponentiallr", {"gamma": 0.9}),
        ("steplr", {"step_size": 1}),
        ("cosineannealinglr", {"T_max": 10}),
        ("reducelronplateau", {"patience": 0}),
        ("tristagelr", {"max_steps": 10}),
    ],
)
def test_a_group_thawed_under_a_running_scheduler_gets_its_rate(
    parameters: dict[str, Any], name: str, conf: dict[str, Any]
) -> None:
    """Schedulers that multiply the present rate would leave it at zero for ever."""
    optimizer = torch.optim.AdamW(parameter_groups(parameters, False))
    scheduler_class = scheduler_classes[name]
    first, second = phase("a", adapter=1.0), phase("b", adapter=1.0, encoder=0.1)
    second = Phase(**{**vars(second), "restart_warmup": False})
    scheduler = start_phase(optimizer, first, 10, scheduler_class, conf, None, None)
    after_step(scheduler)
    after_epoch(scheduler, 1.0)
    again = start_phase(optimizer, second, 10, scheduler_class, conf, None, scheduler)
    assert again is scheduler
    after_step(scheduler)
    after_epoch(scheduler, 1.0)
    found = rates(optimizer)
    assert found["encoder"] > 0
    assert found["encoder"] == pytest.approx(0.1 * found["adapter"])


def test_what_is_frozen_has_no_state(parameters: dict[str, torch.nn.Parameter]) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(parameters, False), lr=0.1)
    sum(p.sum() for p in parameters.values()).backward()
    optimizer.step()
    kept = optimizer.state[parameters["adapter.weight"]]["exp_avg"].clone()
    parameters["encoder.weight"].requires_grad_(False)
    forget_frozen(optimizer)
    assert parameters["encoder.weight"] not in optimizer.state
    assert torch.equal(optimizer.state[parameters["adapter.weight"]]["exp_avg"], kept)


def test_state_by_name_fits_other_groups(parameters: dict[str, torch.nn.Parameter]) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(parameters, False), lr=0.1)
    sum(p.square().sum() for p in parameters.values()).backward()
    optimizer.step()
    names = {p: n for n, p in parameters.items()}
    saved = optimizer_state(optimizer, names)
    smaller = {n: p for n, p in parameters.items() if n.startswith("adapter")}
    other = torch.optim.AdamW(parameter_groups(smaller, False), lr=0.7)
    load_optimizer_state(other, names, saved)
    for parameter in smaller.values():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(other.state[parameter][key], value)
    assert rates(other) == {"adapter": 0.1}
