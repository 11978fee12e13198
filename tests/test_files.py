"""Files appear whole or not at all, and nothing of a killed writer stays."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_part.files import atomic_write

KILLED = """
import os, signal, sys
from espnet_part.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "new directory/a"
    with atomic_write(path) as file:
        file.write("ä")
    with pytest.raises(KeyError), atomic_write(path, "wb") as file:
        file.write(b"other")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "ä"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="mode must be"), atomic_write(path, "a"):
        pass


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
        assert killed.returncode == -9
        assert path.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(path) as file:
        file.write("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_of_different_files_do_not_meet(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a.b") as other:
        one.write("1")
        other.write("2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.b"]
    assert [(tmp_path / name).read_text() for name in ("a", "a.b")] == ["1", "2"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").symlink_to("/dev/full")
    with (
        pytest.raises(OSError, match="No space left on device") as full,
        atomic_write(tmp_path / "a") as file,
    ):
        file.write("x")
    assert full.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".a.tmp").symlink_to("/no/such/directory")
    with pytest.raises(FileNotFoundError) as other, atomic_write(tmp_path / "a"):
        pass
    assert other.value.filename == str(tmp_path / "a")


def test_a_directory_that_cannot_be_synchronised_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there, but a power cut could take it: a full disk shows as late as that."""

    def full(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        atomic_write(tmp_path / "a"),
    ):
        pass
    assert caught.value.filename == str(tmp_path)
