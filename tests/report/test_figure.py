"""Names over an axis stand apart."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.report.figure import spread


def test_names_that_have_room_stay() -> None:
    assert spread([10.0, 50.0, 90.0], 5.0, 100.0) == [10.0, 50.0, 90.0]


def test_names_that_are_close_move_apart_and_stay_on_the_axis() -> None:
    assert spread([10.0, 11.0, 12.0], 5.0, 100.0) == [10.0, 15.0, 20.0]
    assert spread([98.0, 99.0, 100.0], 5.0, 100.0) == [90.0, 95.0, 100.0]
    assert spread([50.0], 5.0, 100.0) == [50.0]
    assert spread([], 5.0, 100.0) == []


@given(st.lists(st.floats(0, 1000), max_size=12), st.floats(1, 300))
def test_they_are_apart_as_far_as_there_is_room(wanted: list[float], gap: float) -> None:
    wanted = sorted(wanted)
    places = spread(wanted, gap, 1000.0)
    room = min(gap, 1000 / max(len(wanted) - 1, 1))
    for one, other in itertools.pairwise(places):
        assert other - one >= room * (1 - 1e-9) - 1e-6
    assert all(place <= 1000 + 1e-6 for place in places)
    assert all(
        place == pytest.approx(1000 - (len(places) - 1 - n) * room, abs=1e-6)
        or place >= want - 1e-6
        for n, (place, want) in enumerate(zip(places, wanted, strict=True))
    )
