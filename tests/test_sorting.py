"""Sorting more lines than memory holds."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_part import sorting
from espnet_part.sorting import LineSorter, first_field


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    keys=st.lists(st.sampled_from(["a", "b", "ab", "ä", "中", "𝄞", "a-", "a!"]), max_size=30),
    chunk=st.integers(1, 9),
    files=st.integers(2, 4),
)
def test_lines_are_sorted_by_key_and_equal_ones_keep_their_order(
    tmp_path, monkeypatch, keys, chunk, files
):
    monkeypatch.setattr(sorting, "CHUNK", chunk)
    monkeypatch.setattr(sorting, "FILES", files)
    sorter = LineSorter(tmp_path / f"run{random.random()}")
    lines = [f"{key}\t{number}\n".encode() for number, key in enumerate(keys)]
    for line in lines:
        sorter.add(line)
    assert list(sorter.merged()) == sorted(lines, key=first_field)
    assert not list(tmp_path.iterdir())


def test_no_more_files_are_open_than_are_merged_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "CHUNK", 1)
    monkeypatch.setattr(sorting, "FILES", 4)
    sorter = LineSorter(tmp_path / "run")
    for number in range(200):
        sorter.add(f"{number * 7 % 200:03d}\t\n".encode())
        assert len(list(tmp_path.iterdir())) <= 3 * 4  # three of a level, four levels
    assert [int(line[:3]) for line in sorter.merged()] == list(range(200))
