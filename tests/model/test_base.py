"""Base models: their files, and what identifies them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from espnet_part.errors import ConfigError, DataError
from espnet_part.model.base import (
    check_config,
    describe_base,
    file_sha256,
    find_file,
    find_weights,
    fingerprint,
)

COMMIT = "0" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache without a network, holding one sharded model; gives its snapshot."""
    import huggingface_hub
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda *args, **more: file_download.try_to_load_from_cache(
            *args, cache_dir=tmp_path, **more
        ),
    )
    model = tmp_path / "models--some--model"
    snapshot = model / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    shards = {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}
    for key, shard in shards.items():
        save_file({key: torch.ones(3)}, snapshot / shard)
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    return snapshot


def test_finds_the_shards_of_a_cached_model_without_a_network(cache: Path) -> None:
    files = find_weights("some/model", None)
    assert [file.name for file in files] == ["model-1.safetensors", "model-2.safetensors"]
    assert find_file("some/model", None, "config.json") == cache / "config.json"


def test_no_network_is_said(cache: Path) -> None:
    with pytest.raises(ConfigError, match="is not in the cache and the hub cannot be reached"):
        find_file("other/model", None, "config.json")
    (cache / "model-2.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model-2\.safetensors is not in the cache"):
        find_weights("some/model", None)


def test_a_missing_shard_of_a_directory_is_named(cache: Path) -> None:
    (cache / "model-1.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model-1\.safetensors is missing"):
        find_weights(str(cache), None)


def test_the_fingerprint_sees_a_change_anywhere_that_training_makes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = {f"w{i}": torch.randn(1000, 100) for i in range(4)}
    save_file(weights, path)
    before = fingerprint([path])
    assert fingerprint([path]) == before
    save_file({key: value * 1.001 for key, value in weights.items()}, path)
    assert fingerprint([path]) != before


def test_random_weights_are_described_by_their_config() -> None:
    one = describe_base("llm", None, None, {"a": 1, "b": 2})
    assert one == describe_base("llm", None, None, {"b": 2, "a": 1})
    assert one != describe_base("llm", None, None, {"a": 1, "b": 3})
    assert one.fingerprint is None


@pytest.mark.parametrize("names", [["../../secret.safetensors"], ["/tmp/a.safetensors"], [1], []])
def test_an_index_names_only_files_beside_it(tmp_path: Path, names: list[object]) -> None:
    weight_map = {f"{n}.weight": name for n, name in enumerate(names)}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConfigError, match="weight_map"):
        find_weights(str(tmp_path), None)


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 64, b"\x02" + bytes(7) + b"[]"])
def test_damaged_weights_are_found_by_their_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.safetensors: (damaged|not valid JSON)"):
        find_weights(str(tmp_path), None)


def test_weights_that_are_whole_numbers_are_refused(tmp_path: Path) -> None:
    save_file({"positions": torch.arange(3)}, tmp_path / "model.safetensors")
    assert find_weights(str(tmp_path), None)
    save_file({"a.weight": torch.arange(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"a\.weight holds 'I64': weights must be floating-point"):
        find_weights(str(tmp_path), None)


@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "somebody/kernel"},
        {"attn_implementation": ["sdpa"]},
        {"text_config": {"_attn_implementation_internal": "kernels-community/x"}},
    ],
)
def test_a_config_that_names_code_of_the_hub_is_refused(
    tmp_path: Path, values: dict[str, object]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", **values}))
    with pytest.raises(ConfigError, match="may run code of the hub"):
        check_config(str(tmp_path), None)
    (tmp_path / "config.json").write_text('{"_attn_implementation": "sdpa", "x": null}')
    assert check_config(str(tmp_path), None) == {"_attn_implementation": "sdpa", "x": None}


@pytest.mark.parametrize("digest", [file_sha256, lambda path: fingerprint([path])])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, digest: Callable[[Path], str]) -> None:
    (tmp_path / "weights").symlink_to("/proc/self/mem")  # whose first bytes nobody can read
    with pytest.raises(DataError, match="weights: Input/output error"):
        digest(tmp_path / "weights")
    with pytest.raises(DataError, match="gone: missing file"):
        digest(tmp_path / "gone")
