"""Which changes of a schedule a training survives."""

from __future__ import annotations

from typing import Any

import pytest

from espnet_part.errors import ConfigError, DataError
from espnet_part.schedule.schedule import Schedule
from espnet_part.train.position import check_same_schedule


def phase(name: str, **changes: Any) -> dict[str, Any]:
    values = {"train": ["adapter"], "lr": {"adapter": 1e-3}, "tasks": ["asr"], "steps": 10}
    return {"name": name, **values, **changes}


def schedule(*phases: dict[str, Any]) -> Schedule:
    return Schedule.from_list(list(phases), "stage.yaml")


SAVED = schedule(phase("a"), phase("b"), phase("c")).to_list()


@pytest.mark.parametrize(
    "now",
    [
        [phase("a"), phase("b"), phase("c")],
        [phase("a"), phase("b", steps=20), phase("c")],
        [phase("a"), phase("b"), phase("other", tasks=["s2tt"])],
        [phase("a"), phase("b")],
    ],
)
def test_the_current_phase_may_change_its_length_and_later_ones_altogether(now: list[Any]) -> None:
    check_same_schedule(SAVED, schedule(*now), 1)


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ([phase("a", steps=11), phase("b")], "a"),
        ([phase("a"), phase("b", tasks=["s2tt"])], "b"),
        ([phase("a"), phase("b", loss="adapter")], "b"),
        ([phase("a")], "b"),
    ],
)
def test_what_has_run_may_not_change(now: list[Any], changed: str) -> None:
    with pytest.raises(DataError, match=rf"stage\.yaml: phase {changed} has changed since"):
        check_same_schedule(SAVED, schedule(*now), 1)


def test_a_phase_whose_shares_depend_on_its_length_may_not_change_it() -> None:
    capped = schedule(phase("a", max_epochs=4)).to_list()
    check_same_schedule(capped, schedule(phase("a", max_epochs=4), phase("b")), 0)
    with pytest.raises(DataError, match="phase a has changed"):
        check_same_schedule(capped, schedule(phase("a", max_epochs=4, steps=20)), 0)


def test_a_checkpoint_of_a_version_with_fewer_keys_goes_on() -> None:
    older = [
        {
            k: v
            for k, v in one.items()
            if k not in ("loss", "scheduler_conf", "max_epochs", "min_share")
        }
        for one in SAVED
    ]
    check_same_schedule(older, schedule(phase("a"), phase("b"), phase("c")), 1)


def test_phases_that_are_none_are_named() -> None:
    with pytest.raises(ConfigError, match="the checkpoint: phase a"):
        check_same_schedule([{"name": "a"}], schedule(phase("a")), 0)
