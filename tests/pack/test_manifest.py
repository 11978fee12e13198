"""espnet_part/pack/manifest.py: a packed model's files are those that were packed, each time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from espnet_part.errors import DataError
from espnet_part.pack import manifest as module
from espnet_part.pack.manifest import check_files, manifest_of
from espnet_part.pack.stored import find_model


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_in_the_unpacked_cache_is_found(packed: Path, tmp_path: Path) -> None:
    found = find_model(packed, cache=tmp_path)
    directory = found.config.parent
    for name in ("base_models/llm/model.safetensors", "tokenizer/tokenizer.json"):
        path = directory / name
        whole = path.read_bytes()
        flip(path)
        with pytest.raises(DataError, match=f"{name}: damaged: it is not the file"):
            find_model(packed, cache=tmp_path)
        path.write_bytes(whole)
    assert find_model(packed, cache=tmp_path) == found
    (directory / "tokenizer/tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json is missing; unpack the model again"):
        find_model(packed, cache=tmp_path)


def test_files_are_read_once_until_they_are_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, cache = tmp_path / "model", tmp_path / "cache"
    directory.mkdir()
    for name in ("a", "b"):
        (directory / name).write_text(name)
    hashes = manifest_of({name: directory / name for name in ("a", "b")})
    read: list[str] = []
    hash_file = module.file_sha256

    def noted(path: Path) -> str:
        read.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(module, "file_sha256", noted)
    check_files(directory, hashes, cache)
    check_files(directory, hashes, cache)
    assert read == ["a", "b"]
    os.utime(directory / "b")
    check_files(directory, hashes, cache)
    assert read == ["a", "b", "b"]
    shutil.rmtree(cache)
    cache.write_text("no directory")  # what cannot be noted is compared again
    check_files(directory, hashes, cache)
    check_files(directory, hashes, cache)
    assert read[3:] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("found", [[1], "x", {"a": 1}, {"../a": "0"}, {"/etc/passwd": "0"}])
def test_a_manifest_that_is_none(tmp_path: Path, found: Any) -> None:
    with pytest.raises(DataError):
        check_files(tmp_path, found, tmp_path / "cache")
