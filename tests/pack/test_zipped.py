"""A zip depends on its content alone, and appears whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from espnet_part.archive import unpack
from espnet_part.pack.zipped import write_zip


def test_content_order_and_permissions(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(3 << 20))
    big.chmod(0o400)
    archives = []
    for seconds in (1e9, 1.5e9):
        os.utime(big, (seconds, seconds))
        write_zip(tmp_path / "a.zip", {"z.txt": b"text", "d/big.safetensors": big, "a": b""})
        archives.append((tmp_path / "a.zip").read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        infos = {info.filename: info for info in file.infolist()}
    assert list(infos) == ["z.txt", "d/big.safetensors", "a"]
    assert infos["d/big.safetensors"].compress_type == zipfile.ZIP_STORED
    assert {info.external_attr >> 16 for info in infos.values()} == {0o644}
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out/d/big.safetensors").read_bytes() == big.read_bytes()
    assert (tmp_path / "out/z.txt").read_bytes() == b"text"


def test_a_member_that_cannot_be_read_leaves_no_archive(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_zip(tmp_path / "a.zip", {"a": b"1", "b": tmp_path / "directory"})
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
