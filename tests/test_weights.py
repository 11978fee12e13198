"""espnet_part/weights.py: what is read is what was written, or it is refused."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest
import safetensors.torch
import torch

from espnet_part.errors import DataError
from espnet_part.weights import copy_weights, hash_tensors, read_header, read_weights, write_weights

TENSORS = {
    "adapter.a": torch.randn(7, 3),
    "adapter.steps": torch.tensor(12),
    "llm.b": torch.randn(5).to(torch.bfloat16),
    "encoder.empty": torch.zeros(0, 4),
    'encoder.ß/"\\\n\x01\x7f\u2028😀': torch.ones(3),
}
METADATA = {"phase": "joint", "base_models": [{"part": "llm", "name": "ä"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    write_weights(path, TENSORS, METADATA)
    return path


def test_what_is_written_is_read(file: Path) -> None:
    metadata, tensors = read_weights(file)
    assert metadata == METADATA
    assert read_header(file)[0] == METADATA
    assert set(read_header(file)[1]) == set(TENSORS)
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_equal_weights_are_equal_files(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    for _ in range(5):
        write_weights(again, dict(reversed(TENSORS.items())), METADATA)
        assert again.read_bytes() == file.read_bytes()


def test_every_flipped_bit_is_found_or_changes_nothing(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    found = 0
    for position in range(len(whole)):
        bit = 1 << random.Random(position).randrange(8)
        content = bytearray(whole)
        content[position] ^= bit
        damaged.write_bytes(content)
        try:
            metadata, tensors = read_weights(damaged)
        except DataError as error:
            assert str(error).startswith(str(damaged))
            found += 1
            continue
        # the padding of the header, or how a hash that nobody needs is called
        assert metadata == METADATA, position
        assert hash_tensors(tensors) == hash_tensors(TENSORS), position
    assert found > 0.9 * len(whole)


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1])
def test_a_file_cut_short_is_refused(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match="damaged"):
        read_weights(file)


def test_values_that_are_not_finite_are_refused(file: Path) -> None:
    write_weights(file, {"adapter.a": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(DataError, match=r"adapter\.a holds values that are not finite"):
        read_weights(file)


def test_a_copy_has_another_header_and_the_same_bytes_each_time(file: Path, tmp_path: Path) -> None:
    copies = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for copy in copies:
        copy_weights(file, copy, {"packed": True})
    assert copies[0].read_bytes() == copies[1].read_bytes()
    metadata, tensors = read_weights(copies[0])
    assert metadata == {"packed": True}
    assert hash_tensors(tensors) == hash_tensors(TENSORS)


def test_a_file_of_version_01_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file(TENSORS, path, {"format": "espnet_part/1", "part": "{}"})
    with caplog.at_level(logging.WARNING):
        assert set(read_weights(path)[1]) == set(TENSORS)
    assert "without a hash" in caplog.text


@pytest.mark.parametrize("header", [{}, {"format": "pt"}, {"format": "\x1b[2J"}])
def test_a_file_of_others_is_refused(tmp_path: Path, header: dict[str, str]) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(TENSORS, path, header)
    with pytest.raises(DataError, match="not a file of trained weights of this package") as caught:
        read_weights(path)
    assert str(caught.value).isprintable()
