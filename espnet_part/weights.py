"""Files of trained weights: safetensors with a header of ours, written whole and checked when read.

The header holds JSON ("part": what the weights are and which base models they need) and two hashes, one
of it and one of the tensors. A hash of the tensors rather than of the file lets a packed model carry the
same weights under another header.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from espnet_part.display import plain
from espnet_part.errors import DataError
from espnet_part.files import apply_umask, is_disk_full, sync_directory, sync_file

FORMAT = "espnet_part/2"
_WITHOUT_HASHES = "espnet_part/1"  # of version 0.1


def header_of(metadata: Mapping[str, Any], tensors_sha256: str) -> dict[str, str]:
    """The header of a file whose tensors have that hash."""
    part = json.dumps(metadata, sort_keys=True)
    return {
        "format": FORMAT,
        "part": part,
        "part_sha256": hashlib.sha256(part.encode()).hexdigest(),
        "tensors_sha256": tensors_sha256,
    }


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """The hash of names, dtypes, shapes and values, whatever their order in a file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_weights(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors under a header with the JSON ``metadata``, whole or not at all.

    Raises:
        DataError: no space left on the disk.
    """
    aside = path.with_name(f".{path.name}.tmp")  # one name: a killed writer's rest is overwritten
    try:
        header = header_of(metadata, hash_tensors(tensors))
        safetensors.torch.save_file(dict(tensors), aside, metadata=header)
        _order_header(aside, header)
        apply_umask(aside)
        sync_file(aside)
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if is_disk_full(error):
            raise DataError(f"{path}: no space left on the disk; free some and resume") from None
        raise
    sync_directory(path.parent)


def _order_header(path: Path, ours: Mapping[str, str]) -> None:
    """Put our keys in one order, so that equal weights are equal files.

    The safetensors library writes them in any order, and everything else in one.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        ordered = _encode(json.loads(file.read(length)), ours)
        if len(ordered) == 8 + length:  # else a library that writes other JSON: any order will do
            file.seek(0)
            file.write(ordered)


def _encode(header: Mapping[str, Any], ours: Mapping[str, str]) -> bytes:
    """The beginning of a safetensors file: a length and JSON, as the library writes them."""
    ordered = {"__metadata__": ours, **{n: t for n, t in header.items() if n != "__metadata__"}}
    encoded = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # the tensors stay aligned
    return len(encoded).to_bytes(8, "little") + encoded


def read_header(path: str | Path) -> tuple[dict[str, Any], list[str]]:
    """The metadata and the tensor names of a file of trained weights, without reading the tensors.

    Raises:
        DataError: missing, damaged, or not one of ours.
    """
    header, names = _open(Path(path))
    return _metadata(header, path), names


def identity(path: str | Path) -> str:
    """What tells these weights from others: the hash of the tensors that the header names.

    Raises:
        DataError: as `read_header`; or a file of version 0.1, which names none.
    """
    header, _ = _open(Path(path))
    _metadata(header, path)
    if "tensors_sha256" not in header:
        raise DataError(f"{path}: written by version 0.1, without a hash; train or pack it again")
    return header["tensors_sha256"]


def read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The metadata and the tensors of a file of trained weights.

    Raises:
        DataError: missing, damaged, not one of ours, or with values that are not finite.
    """
    header, _ = _open(Path(path))
    metadata = _metadata(header, path)
    try:
        tensors = safetensors.torch.load_file(path)
    except Exception as error:  # the library's own type, or the system's
        raise DataError(f"{path}: damaged: {plain(error, 200)}") from None
    if header["format"] == _WITHOUT_HASHES:
        logging.warning("%s: written by version 0.1, without a hash that could show damage", path)
    elif hash_tensors(tensors) != header.get("tensors_sha256"):
        raise DataError(f"{path}: damaged: its weights are not those that were written")
    check_finite(tensors, path)
    return metadata, tensors


def copy_weights(source: Path, target: Path, metadata: Mapping[str, Any]) -> None:
    """Copy trained weights under other JSON ``metadata``.

    Raises:
        DataError: as `read_weights`.
    """
    _, tensors = read_weights(source)
    with source.open("rb") as old, target.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        new.write(_encode(header, header_of(metadata, hash_tensors(tensors))))
        shutil.copyfileobj(old, new, 1 << 20)


def check_finite(tensors: Mapping[str, torch.Tensor], where: str | Path) -> None:
    """Refuse weights of which some are infinite or no numbers.

    Raises:
        DataError: names the first tensor.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DataError(f"{where}: {plain(name, 200)} holds values that are not finite")


def _open(path: Path) -> tuple[dict[str, str], list[str]]:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}, list(file.keys())
    except Exception as error:
        # the library raises its own type, an OSError or a JSON error according to what is damaged
        raise DataError(f"{path}: damaged or not a safetensors file: {plain(error, 200)}") from None


def _metadata(header: dict[str, str], path: str | Path) -> dict[str, Any]:
    if header.get("format") not in (FORMAT, _WITHOUT_HASHES):
        raise DataError(
            f"{path}: not a file of trained weights of this package "
            f"(format {plain(repr(header.get('format')), 60)}, expected {FORMAT!r})"
        )
    part = header.get("part", "")
    expected = header.get("part_sha256")
    if header["format"] == FORMAT and hashlib.sha256(part.encode()).hexdigest() != expected:
        raise DataError(f"{path}: damaged: its header is not the one that was written")
    try:
        metadata = json.loads(part)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise DataError(f"{path}: damaged: its header holds no description of the weights")
    return metadata
