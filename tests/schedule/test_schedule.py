"""Everything wrong in a schedule is refused, with file, phase, key and the mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError
from espnet_part.schedule.schedule import Schedule
from tests.schedule.test_selectors import NAMES, PROTECTED

ROOT = Path(__file__).resolve().parents[2]
PHASE: dict[str, Any] = {
    "name": "first",
    "train": ["adapter"],
    "lr": {"adapter": 1e-3},
    "tasks": ["asr"],
    "steps": 10,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trian": ["adapter"]}, "unknown key `trian`; did you mean `train`"),
        ({"train": []}, "train"),
        ({"tasks": []}, "`tasks` is empty"),
        ({"tasks": {"asr": 0}}, "tasks.*greater than 0"),
        ({"tasks": ["asr", "asr"]}, "twice"),
        ({"steps": 0}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"epochs": 2}, "either `steps` or `epochs`"),
        ({"steps": None}, "either `steps` or `epochs`"),
        ({"lr": {"adapter": -1}}, "lr"),
        ({"lr": {"adapter": float("nan")}}, "lr"),
        ({"language_temperature": 0}, "language_temperature"),
        ({"language_temperature": 0.01}, "language_temperature.*or equal to 0.1"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"max_epochs": {"de": -1}}, "max_epochs"),
        ({"max_epochs": True}, "max_epochs: must be a number, not true or false"),
        ({"lr": {"adapter": True}}, "lr.adapter: must be a number"),
        ({"tasks": {"asr": True}}, "tasks.asr: must be a number"),
        ({"steps": True}, "steps"),
        ({"language_temperature": True}, "language_temperature: must be a number"),
        ({"min_share": {"de": True}}, "min_share.de: must be a number"),
        ({"min_share": 1.5}, "min_share"),
        ({"min_share": {"de": 0}}, "min_share"),
        ({"min_share": {False: 0.1}}, "min_share"),
        ({"loss": "ctc"}, "loss"),
    ],
)
def test_a_wrong_phase_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"stage.yaml: phase first: .*{said}"):
        Schedule.from_list([{**PHASE, **change}], "stage.yaml")


def test_a_limit_that_is_wrong_has_one_complaint() -> None:
    with pytest.raises(ConfigError) as error:
        Schedule.from_list([{**PHASE, "max_epochs": -1}], "stage.yaml")
    wrong = "Input should be greater than 0 (got -1)"
    assert str(error.value) == f"stage.yaml: phase first: max_epochs: {wrong}"


@pytest.mark.parametrize("phases", [[], None, "adapter", {"name": "first"}, [3]])
def test_phases_must_be_a_list_of_mappings(phases: Any) -> None:
    with pytest.raises(ConfigError, match=r"stage\.yaml"):
        Schedule.from_list(phases, "stage.yaml")


def test_two_phases_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="same name"):
        Schedule.from_list([PHASE, PHASE], "stage.yaml")


def test_a_selector_error_names_file_and_phase() -> None:
    schedule = Schedule.from_list([{**PHASE, "train": ["adaptor"]}], "stage.yaml")
    with pytest.raises(ConfigError, match=r"stage\.yaml: phase first: train: .*`adaptor`"):
        schedule.resolve(NAMES, PROTECTED)


def test_peer_defect_11_every_group_that_trains_needs_its_own_rate() -> None:
    schedule = Schedule.from_list([{**PHASE, "train": ["adapter", "encoder"]}], "stage.yaml")
    with pytest.raises(ConfigError, match="lr: no rate for `encoder`"):
        schedule.resolve(NAMES, PROTECTED)


def test_a_misspelt_group_is_told_before_the_one_that_it_leaves_without_a_rate() -> None:
    phase = {**PHASE, "train": ["adapter", "encoder"], "lr": {"adapter": 1, "encodr": 1}}
    with pytest.raises(ConfigError, match="lr: unknown key `encodr`; did you mean `encoder`"):
        Schedule.from_list([phase], "stage.yaml").resolve(NAMES, PROTECTED)


@pytest.mark.parametrize(
    ("train", "lr", "fits"),
    [
        (["adapter"], ["adapter"], True),
        (["adapter", "encoder.layers[-8:]", "encoder[0]"], ["adapter", "encoder"], True),
        (["adapter", "*.lora"], ["adapter", "llm"], True),  # the model says what that is
        (["adapter", "encoder"], ["adapter", "encodr"], False),
        (["adaptor"], ["adapter"], False),
        (["adapter", "llm.lora"], ["adapter"], False),
        (["adapter"], ["adapter", "llm"], False),
    ],
)
def test_train_and_rates_are_compared_without_a_model(
    train: list[str], lr: list[str], fits: bool
) -> None:
    schedule = Schedule.from_list(
        [{**PHASE, "train": train, "lr": dict.fromkeys(lr, 1e-3)}], "stage.yaml"
    )
    if fits:
        schedule.check_groups()
    else:
        with pytest.raises(ConfigError, match=r"stage\.yaml: phase first: `train` selects from "):
            schedule.check_groups()


def test_a_rate_for_what_does_not_train_is_refused() -> None:
    schedule = Schedule.from_list([{**PHASE, "lr": {"adapter": 1, "encoder": 1}}], "stage.yaml")
    with pytest.raises(ConfigError, match="lr: unknown key `encoder`"):
        schedule.resolve(NAMES, PROTECTED)


def test_a_loss_that_the_adapter_has_not_is_refused() -> None:
    schedule = Schedule.from_list([{**PHASE, "loss": "adapter"}], "stage.yaml")
    schedule.check_losses(True)
    with pytest.raises(ConfigError, match=r"phase first: loss: adapter: .* no loss of its own"):
        schedule.check_losses(False)


def test_a_task_without_data_is_refused() -> None:
    schedule = Schedule.from_list([{**PHASE, "tasks": ["asr", "s2tt"]}], "stage.yaml")
    with pytest.raises(ConfigError, match=r"phase first: tasks: .*`s2tt`; it has asr \(3\)"):
        schedule.check_tasks({"asr": 3})


def test_groups_keep_the_order_of_the_model() -> None:
    schedule = Schedule.from_list(
        [{**PHASE, "train": ["llm.lora", "adapter"], "lr": {"adapter": 1, "llm": 1}}], "stage.yaml"
    )
    (trainable,) = schedule.resolve(NAMES, PROTECTED)
    assert list(trainable.groups) == ["adapter", "llm"]
    assert len(trainable.names) == 4


STAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("stage*.yaml"))


@pytest.mark.parametrize("path", STAGES)
def test_every_shipped_stage_is_valid(path: str) -> None:
    schedule = Schedule.from_list(load_yaml(ROOT / path)["phases"], path)
    assert schedule.resolve(NAMES, PROTECTED)


def total_steps(system: str) -> int:
    files = list((ROOT / "conf/system" / system).glob("stage*.yaml"))
    assert len(files) >= 2
    return sum(phase["steps"] for file in files for phase in load_yaml(file)["phases"])


@pytest.mark.parametrize(
    "system", ["two_stage", "two_stage_lora", "no_staging", "no_lora", "no_progressive"]
)
def test_every_system_has_the_same_number_of_steps(system: str) -> None:
    assert total_steps(system) == total_steps("part")


def test_part_follows_the_paper() -> None:
    """Table of stages in the paper: what trains on which tasks, in which order."""
    phases = [
        phase
        for number in (1, 2, 3)
        for phase in load_yaml(ROOT / f"conf/system/part/stage{number}.yaml")["phases"]
    ]
    assert [phase["train"] for phase in phases] == [
        ["adapter"],
        ["adapter", "encoder.layers[-8:]"],
        ["adapter", "encoder"],
        ["adapter", "encoder", "llm.lora"],
        ["adapter", "encoder", "llm.lora"],
    ]
    assert [set(phase["tasks"]) for phase in phases] == [
        {"asr"},
        {"asr"},
        {"asr"},
        {"asr", "s2tt"},
        {"asr", "s2tt", "t2tt"},
    ]
