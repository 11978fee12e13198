"""Base models: where their files are, and what identifies them in a checkpoint."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.display import plain, value
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import is_directory
from espnet_part.inputs import bad_input
from espnet_part.parsing import parse_json, read_json_object

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_FLOATS = ("F64", "F32", "F16", "BF16")
_SLICE_BYTES = 1 << 16
_HUB_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A pretrained model that a checkpoint builds upon and does not contain.

    Attributes:
        part: "encoder" or "llm".
        name: hub name or directory; null for random weights made from a config.
        revision: as configured.
        config_sha256: of the configuration (a file's bytes, or canonical JSON).
        fingerprint: of the weights (see `fingerprint`); null for random weights.
    """

    part: str
    name: str | None
    revision: str | None
    config_sha256: str
    fingerprint: str | None


def find_file(name: str, revision: str | None, filename: str) -> Path | None:
    """A file of a local model directory, or of a hub model (fetched when not in the cache).

    Returns:
        None where the model has no such file.

    Raises:
        ConfigError: no such directory or hub model, or the hub cannot be reached.
    """
    if is_directory(name):
        path = Path(name) / filename
        return path if path.is_file() else None
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1 or len(name) > 200:
        raise ConfigError(f"{plain(name, 200)}: no such model directory")
    from huggingface_hub import errors, hf_hub_download

    cached = _cached(name, revision, filename)
    if cached is not None:
        return cached
    try:
        if not hub_answers():
            raise errors.LocalEntryNotFoundError(filename)
        return Path(hf_hub_download(name, filename, revision=revision))
    except errors.LocalEntryNotFoundError:
        raise ConfigError(
            f"{name}: {filename} is not in the cache and the hub cannot be reached; give a local "
            "directory, or fetch the model where there is a network"
        ) from None
    except errors.EntryNotFoundError:
        return None
    except (errors.HFValidationError, errors.HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{name}: neither a directory nor a model that the hub gives: {reason}"
        ) from None


def _cached(name: str, revision: str | None, filename: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, filename, revision=revision)
    return Path(found) if isinstance(found, str) else None


def hub_answers() -> bool:
    """Whether the hub can be reached; asked once a minute, for a few seconds.

    The hub's own client tries each file again and again, which takes minutes without a network.
    """
    return _ask_hub(int(time.monotonic() // 60))


@functools.lru_cache(maxsize=1)
def _ask_hub(minute: int) -> bool:
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):  # whatever the client raises, offline mode included
            get_session().head(constants.ENDPOINT, timeout=_HUB_SECONDS)
            answered.set()

    # in a thread: looking a name up has no timeout
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_HUB_SECONDS)
    return answered.is_set()


def find_model(name: str, revision: str | None) -> Path:
    """The directory of a model whose configuration and weights are here, fetched where they are not.

    Loading from it asks the hub for nothing, however read-only the cache and whatever is optional.

    Raises:
        ConfigError: the model, its configuration or its safetensors are not there.
    """
    config = find_config(name, revision)
    if is_directory(name):
        find_weights(name, revision)
        return config.parent
    commit = config.parent.name  # all files of one state, even where the branch moves meanwhile
    if not any(_cached(name, commit, file) for file in (_SINGLE, _INDEX)):
        find_file(name, commit, "generation_config.json")
    find_weights(name, commit)
    return config.parent


def find_files(
    name: str, revision: str | None, wanted: Sequence[str], complete: Callable[[set[str]], bool]
) -> dict[str, Path]:
    """Those of the wanted files that a model has.

    Args:
        complete: whether what is in the cache is all there is, so that the hub need not be asked.

    Raises:
        ConfigError: no such directory or hub model, or the hub cannot be reached.
    """
    found: dict[str, Path | None] = {}
    if not is_directory(name):
        found = {file: _cached(name, revision, file) for file in wanted}
    if not complete({file for file, path in found.items() if path is not None}):
        found = {file: find_file(name, revision, file) for file in wanted}
    return {file: path for file, path in found.items() if path is not None}


def find_config(name: str, revision: str | None) -> Path:
    """The model's ``config.json``.

    Raises:
        ConfigError: the model or the file is not there.
    """
    path = find_file(name, revision, "config.json")
    if path is None:
        raise ConfigError(f"{name}: has no config.json")
    return path


#: What transformers has itself, or finds installed.
ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")


def check_config(name: str, revision: str | None) -> dict[str, Any]:
    """Read a model's ``config.json``, and refuse one that would have code of the hub run.

    transformers takes an attention of the form ``owner/name`` for a compiled kernel that it fetches.

    Raises:
        ConfigError: there is none, it is damaged, or it names such an attention.
    """
    path = find_config(name, revision)
    values = read_json_object(path)
    _check_attention(values, path)
    return values


def _check_attention(values: dict[str, Any], path: Path) -> None:
    for key, found in values.items():
        if isinstance(found, dict):
            _check_attention(found, path)
        elif "attn_implementation" in key and found is not None and found not in ATTENTION:
            raise ConfigError(
                f"{path}: {plain(key, 60)}: {value(found)} is none of {', '.join(ATTENTION)}; others "
                "may run code of the hub"
            )


def find_weights(name: str, revision: str | None) -> list[Path]:
    """The model's safetensors files. Pickled weights are not read: loading them may run code.

    Raises:
        ConfigError: the model or its safetensors are not there, are damaged, or hold weights that are
            no floating-point numbers.
    """
    files = _weight_files(name, revision)
    for path in files:
        _check_dtypes(path)
    return files


def _check_dtypes(path: Path) -> None:
    """Refuse quantised weights, which this package cannot train on, from the header alone."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        # the bound of the safetensors library; the rest of the file is checked where it is loaded
        text = file.read(min(size, 100_000_000))
    try:
        header = parse_json(text.decode(), str(path))
        tensors = {n: t["dtype"] for n, t in header.items() if n != "__metadata__"}
    except (UnicodeDecodeError, AttributeError, TypeError, KeyError):
        raise ConfigError(f"{path}: damaged or not a safetensors file") from None
    for name, dtype in tensors.items():
        if dtype not in _FLOATS and name.endswith((".weight", ".bias")):
            raise ConfigError(
                f"{path}: {plain(name, 100)} holds {value(dtype)}: weights must be floating-point "
                "numbers (a quantised model must be dequantised first)"
            )


def _weight_files(name: str, revision: str | None) -> list[Path]:
    # a sharded model that is in the cache must not be asked for the single file over the network
    sharded = not is_directory(name) and _cached(name, revision, _INDEX) is not None
    single = None if sharded else find_file(name, revision, _SINGLE)
    if single is not None:
        return [single]
    index = find_file(name, revision, _INDEX)
    if index is None:
        raise ConfigError(
            f"{name}: has no {_SINGLE} (weights in another format are not read; convert them)"
        )
    shards = _shards(index)
    files = [find_file(name, revision, shard) for shard in shards]
    for shard, file in zip(shards, files, strict=True):
        if file is None:
            raise ConfigError(f"{name}: {shard} is missing although {_INDEX} names it")
    return [file for file in files if file is not None]


def _shards(index: Path) -> list[str]:
    weight_map = read_json_object(index, largest=1 << 26).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(n, str) and n.endswith(".safetensors") for n in names):
        raise ConfigError(f"{index}: weight_map: must name the safetensors file of each tensor")
    for name in names:
        if Path(name).name != name:
            raise ConfigError(f"{index}: weight_map: {value(name)} is no file beside it")
    return sorted(set(names))


def check_weights(wanted: Mapping[str, Any], found: Mapping[str, Any], name: str) -> None:
    """Refuse weights that lack a tensor or have one of another shape.

    Raises:
        ConfigError: names the first of them and how many there are.
    """
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise ConfigError(f"{name}: {len(missing)} weights are missing, e.g. {missing[0]}")
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise ConfigError(
                f"{name}: {key} has the shape {tuple(tensor.shape)}, "
                f"its config.json makes it {tuple(wanted[key].shape)}"
            )


def fingerprint(files: list[Path]) -> str:
    """A cheap hash of weights: each file's size, safetensors header and three slices of its data.

    Reads at most about 200 kB a file beside the header, so it takes milliseconds where a full hash
    takes minutes; fine-tuned weights differ everywhere, so a slice shows it.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        with bad_input(DataError, path), path.open("rb") as file:
            size = path.stat().st_size
            digest.update(str(size).encode())
            if path.suffix == ".safetensors":
                header = file.read(8)
                digest.update(header)
                digest.update(file.read(min(int.from_bytes(header, "little"), size)))
            start = file.tell()
            for offset in (start, start + (size - start) // 2, max(start, size - _SLICE_BYTES)):
                file.seek(offset)
                digest.update(file.read(_SLICE_BYTES))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The hash of a file of any size.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.sha256()
    with bad_input(DataError, path), path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def json_sha256(value: object) -> str:
    """The hash of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_base(
    part: str, name: str | None, revision: str | None, config: dict[str, object] | None
) -> BaseModel:
    """Identify a base model from its files, or from its config where the weights are random."""
    if name is None:
        return BaseModel(
            part=part,
            name=None,
            revision=None,
            config_sha256=json_sha256(config),
            fingerprint=None,
        )
    return BaseModel(
        part=part,
        name=name,
        revision=revision,
        config_sha256=file_sha256(find_config(name, revision)),
        fingerprint=fingerprint(find_weights(name, revision)),
    )
