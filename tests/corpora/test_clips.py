"""The small set of names, and the sort of more lines than memory holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.corpora.clips import NameSet, list_directory
from espnet_part.errors import DataError

NAMES = st.sets(st.text(max_size=6), max_size=40)


@settings(deadline=None)
@given(inside=NAMES, asked=NAMES)
def test_a_name_set_knows_what_it_holds(inside, asked):
    names = NameSet(inside)
    assert len(names) == len(inside)
    assert all(name in names for name in inside)
    assert {name for name in asked if name in names} == asked & inside


def test_a_directory_is_listed(tmp_path):
    for name in ("a.mp3", "ü 中.mp3"):
        (tmp_path / name).touch()
    names = list_directory(tmp_path)
    assert "a.mp3" in names and "ü 中.mp3" in names and "b.mp3" not in names
    with pytest.raises(DataError, match="cannot be listed"):
        list_directory(tmp_path / "missing")
