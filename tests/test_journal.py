"""Journals: what was added is read again, whatever a kill or a bad disk left of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.errors import DataError
from espnet_part.journal import Journal

VALUES = st.lists(
    st.recursive(
        st.none() | st.integers() | st.text(st.characters()) | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=5,
)


@given(first=VALUES, second=VALUES, lost=st.integers(0, 30))
def test_whatever_a_kill_cuts_off_the_lines_before_it_are_read(
    tmp_path_factory: pytest.TempPathFactory, first: list, second: list, lost: int
) -> None:
    journal = Journal(tmp_path_factory.mktemp("j") / "new/j.jsonl")
    assert list(journal.read()) == []
    journal.add(first)
    before = journal.path.stat().st_size
    journal.add(second)
    assert list(journal.read()) == first + second
    content = journal.path.read_bytes()
    kept = content[: max(len(content) - lost, before)]
    journal.path.write_bytes(kept)
    peeked = list(journal.peek())
    assert journal.path.read_bytes() == kept
    found = list(journal.read())
    assert found == peeked == (first + second)[: kept.count(b"\n")]
    journal.add(["after"])  # on a line of its own
    assert list(journal.read()) == [*found, "after"]


def test_a_damaged_line_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    bad = [b"not json", b"\xff\xfe\x00", b"[" * 100_000, b""]
    journal.path.write_bytes(b"\n".join([b'"a"', *bad, b'"b"', b""]))
    assert list(journal.read()) == ["a", "b"]
    assert all(f"line {number} is damaged" in caplog.text for number in (2, 3, 4))
    assert caplog.text.count("is damaged") == 3  # version 0.1 wrote empty lines


def test_names_of_files_that_are_no_text_are_kept(tmp_path: Path) -> None:
    name = b"\xe9t\xe9.wav".decode(errors="surrogateescape")
    journal = Journal(tmp_path / "j.jsonl")
    journal.add([name])
    assert list(journal.read()) == [name]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    journal = Journal(tmp_path / "j.jsonl")
    with pytest.raises(DataError, match=r"j\.jsonl: cannot be written: No space left on device"):
        journal.add(["a"])
    with (
        pytest.raises(DataError, match="No space left on device; what was done before is kept"),
        journal.appending() as append,
    ):
        append(["a"], sync=True)


def test_replaced_and_cleared(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.add([1, 2, 3])
    journal.replace([2])
    journal.add([4])
    assert list(journal.read()) == [2, 4]
    journal.clear()
    journal.clear()
    assert list(journal.read()) == []
