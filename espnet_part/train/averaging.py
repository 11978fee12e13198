"""Choosing the best models of a stage, and averaging them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_part.weights import read_weights, write_weights

_MODEL = re.compile(r"(\d+)epoch\.safetensors\Z")


def ranked(history: Sequence[dict[str, Any]], criterion: Sequence[str]) -> list[int]:
    """Epochs of the newest phase from best to worst by ``criterion``, such as (valid, acc, max).

    Only the newest phase counts: models of an earlier phase have another trainable set and another
    task mixture, so neither their scores nor their weights can be mixed with these. Ties go to the
    later epoch.
    """
    split, key, mode = criterion
    if mode not in ("min", "max"):
        raise ValueError(f"best_model_criterion: must end with min or max: {mode!r}")
    sign = 1 if mode == "min" else -1
    entries = [
        (sign * entry[split][key], -entry["epoch"])
        for entry in history
        if entry["phase"] == history[-1]["phase"]
        and entry.get(split, {}).get(key) is not None
        and entry[split][key] == entry[split][key]  # not NaN
    ]
    return [-epoch for _, epoch in sorted(entries)]


def model_file(output_dir: Path, epoch: int) -> Path:
    return output_dir / f"{epoch}epoch.safetensors"


def update_links(
    output_dir: Path,
    history: Sequence[dict[str, Any]],
    criteria: Sequence[Sequence[str]],
    keep: int,
    keep_last: int = 0,
) -> list[str]:
    """Point ``latest`` and ``<split>.<key>.best`` at their models and remove the others' files.

    The last model of each phase stays: what a phase has brought is measured on it.

    Returns:
        The criteria whose best model is the newest.
    """
    newest = history[-1]["epoch"]
    _link(output_dir / "latest.safetensors", model_file(output_dir, newest))
    wanted, improved = {*phase_ends(history).values(), *_last(history, keep_last)}, []
    for criterion in criteria:
        epochs = _existing(output_dir, ranked(history, criterion), keep)
        wanted.update(epochs)
        if epochs:
            name = ".".join(criterion[:2])
            _link(output_dir / f"{name}.best.safetensors", model_file(output_dir, epochs[0]))
            if epochs[0] == newest:
                improved.append(name)
    for file in output_dir.iterdir():
        match = _MODEL.match(file.name)
        if match and int(match[1]) not in wanted:
            file.unlink()
    return improved


def average_best(
    output_dir: Path,
    history: Sequence[dict[str, Any]],
    criteria: Sequence[Sequence[str]],
    numbers: Sequence[int],
) -> list[Path]:
    """Write ``<split>.<key>.ave_<n>best.safetensors`` for each criterion and number.

    Each average is summed anew in float64 from the files, so none depends on another. The largest
    number's is also linked as ``<split>.<key>.ave.safetensors``.
    """
    written = []
    for criterion in criteria:
        epochs = _existing(output_dir, ranked(history, criterion), max(numbers))
        name = ".".join(criterion[:2])
        for number in sorted(set(numbers)):
            if not epochs:
                continue
            files = [model_file(output_dir, epoch) for epoch in epochs[:number]]
            target = output_dir / f"{name}.ave_{number}best.safetensors"
            average(files, target)
            _link(output_dir / f"{name}.ave.safetensors", target)
            written.append(target)
    return written


def average_last(output_dir: Path, history: Sequence[dict[str, Any]], number: int) -> Path | None:
    """Write ``last.ave_<n>.safetensors`` of the newest phase's last ``number`` models (0: none)."""
    epochs = _existing(output_dir, _last(history, number), number)
    if not epochs:
        return None
    target = output_dir / f"last.ave_{number}.safetensors"
    average([model_file(output_dir, epoch) for epoch in epochs], target)
    return target


def phase_ends(history: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The last epoch of each phase, in the order of the schedule."""
    return {entry["phase"]: entry["epoch"] for entry in history}


def _last(history: Sequence[dict[str, Any]], number: int) -> list[int]:
    same = [e["epoch"] for e in history if e["phase"] == history[-1]["phase"]]
    return same[-number:] if number else []


def _existing(output_dir: Path, epochs: Sequence[int], number: int) -> list[int]:
    """The first ``number`` of the epochs whose models are there; names those that are not.

    An epoch that was trained again, since the newest checkpoint was damaged or led to bad steps, may be
    worse than it was, and then a model counts that had been removed.
    """
    found = [epoch for epoch in epochs if model_file(output_dir, epoch).exists()][:number]
    missing = [epoch for epoch in epochs[:number] if epoch not in found]
    if missing:
        logging.warning(
            "%s: of the %d best or last models those of epochs %s are no more there and are left "
            "out",
            output_dir,
            number,
            ", ".join(map(str, missing)),
        )
    return found


def average(files: Sequence[Path], target: Path) -> None:
    """Write the mean of the weights in ``files``; integer tensors (counters) are the first file's.

    Raises:
        DataError: a damaged file.
        ValueError: files with different tensors.
    """
    metadata, state = read_weights(files[0])
    dtypes = {name: tensor.dtype for name, tensor in state.items()}
    sums = {
        name: tensor.to(torch.float64) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    for file in files[1:]:
        _, other = read_weights(file)
        if set(other) != set(state):
            raise ValueError(f"{file}: holds other tensors than {files[0]}")
        for name, tensor in other.items():
            if tensor.is_floating_point():
                sums[name] += tensor
    mean = {
        name: (total / len(files)).to(dtypes[name]) if total.is_floating_point() else total
        for name, total in sums.items()
    }
    write_weights(target, mean, {**metadata, "averaged": [file.name for file in files]})


def _link(link: Path, target: Path) -> None:
    """Point ``link`` at ``target`` in the same directory, at once."""
    aside = link.with_name(f".{link.name}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target.name)
    aside.replace(link)
