"""Each group has its own rate, in each phase, under each kind of scheduler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from espnet2.tasks.abs_task import scheduler_classes

from espnet_part.schedule.schedule import Phase
from espnet_part.train.learning_rate import (
    Rates,
    forget_frozen,
    load_optimizer_state,
    optimizer_state,
    parameter_groups,
)

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")


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


TRISTAGE = {"warmup_ratio": 0.1, "hold_ratio": 0.4, "decay_ratio": 0.5, "final_lr_scale": 0.1}


def tristage(step: int, length: int) -> float:
    """The factor after ``step`` updates of a tri-stage scheduler with TRISTAGE's ratios."""
    warmup, hold = int(0.1 * length), int(0.4 * length)
    step = min(step + 1, length)
    if step < warmup:
        return 0.01 + 0.99 * step / warmup
    if step < warmup + hold:
        return 1.0
    return 0.1 ** ((step - warmup - hold) / (length - warmup - hold))


def make_rates(
    parameters: dict[str, Any], length: int, name: str = "tristagelr", conf: dict | None = None
) -> Rates:
    optimizer = torch.optim.AdamW(parameter_groups(parameters, False))
    option = "max_steps" if name == "tristagelr" else None
    conf = TRISTAGE if conf is None else conf
    return Rates(optimizer, scheduler_classes[name], conf, option, length)


def followed(made: Rates, steps: int) -> list[float]:
    """The adapter's rate in each of some steps."""
    found = []
    for _ in range(steps):
        found.append(rates(made.optimizer)["adapter"])
        made.after_step()
    return found


def test_warm_up_restarts_with_the_phase(parameters: dict[str, Any]) -> None:
    firsts = []
    for name in "ab":
        made = make_rates(parameters, 10, "warmuplr", {"warmup_steps": 4})
        made.start_phase(phase(name, adapter=1.0), 10)
        firsts.append(rates(made.optimizer))
        followed(made, 6)
    assert firsts == [{"encoder": 0.0, "adapter": 0.25}] * 2


def test_the_length_spans_the_phases_that_are_joined(parameters: dict[str, Any]) -> None:
    made = make_rates(parameters, 100)
    made.start_phase(phase("a", adapter=1.0), 100)
    first = followed(made, 60)
    made.start_phase(phase("b", adapter=0.5, encoder=0.1), 100)
    second = followed(made, 40)
    assert first == pytest.approx([tristage(n, 100) for n in range(60)])
    assert second == pytest.approx([0.5 * tristage(n, 100) for n in range(60, 100)])


@pytest.mark.parametrize(("before", "after"), [(100, 200), (200, 100), (100, 100)])
def test_a_phase_of_another_length_on_resuming(
    parameters: dict[str, Any], before: int, after: int
) -> None:
    """The rates are those of a run that had the new length from its start."""
    made = make_rates(parameters, before)
    made.start_phase(phase("a", adapter=1.0), before)
    followed(made, 40)
    names = {p: n for n, p in parameters.items()}
    saved = optimizer_state(made.optimizer, names), made.state_dict()
    resumed = make_rates(parameters, after)
    resumed.start_phase(phase("a", adapter=1.0), after)
    load_optimizer_state(resumed.optimizer, names, saved[0])
    resumed.load_state_dict(saved[1])
    found = followed(resumed, after - 40)
    assert found == pytest.approx([tristage(n, after) for n in range(40, after)])
    assert resumed.state_dict()["updates"] == after


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("warmuplr", {"warmup_steps": 4}),
        ("exponentiallr", {"gamma": 0.9}),
        ("steplr", {"step_size": 1}),
        ("cosineannealinglr", {"T_max": 10}),
        ("reducelronplateau", {"patience": 0}),
        ("tristagelr", TRISTAGE),
    ],
)
def test_a_group_thawed_under_a_running_scheduler_gets_its_rate(
    parameters: dict[str, Any], name: str, conf: dict[str, Any]
) -> None:
    """Schedulers that multiply the present rate would leave it at zero for ever."""
    made = make_rates(parameters, 20, name, conf)
    made.start_phase(phase("a", adapter=1.0), 20)
    made.after_step()
    made.after_epoch(1.0)
    scheduler = made.scheduler
    made.start_phase(phase("b", adapter=1.0, encoder=0.1), 20)
    assert made.scheduler is scheduler
    made.after_step()
    made.after_epoch(1.0)
    found = rates(made.optimizer)
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
