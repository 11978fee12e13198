"""What was ever trained, and the state from which a run continues.

Weights are safetensors; everything else is JSON, or tensors loaded with ``weights_only=True``.
A directory of a checkpoint appears whole or not at all, and carries the hashes of its files.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import nn

from espnet_part.data.heard import Heard, Streams
from espnet_part.errors import DataError, UserError
from espnet_part.files import apply_umask, atomic_write, is_disk_full, sync_directory, sync_file
from espnet_part.model.base import file_sha256
from espnet_part.parsing import read_json
from espnet_part.train.sharding import rows_of
from espnet_part.weights import read_weights, write_weights

MANIFEST = "manifest.json"
_FILES = {"weights.safetensors", "optimizer.pt", "state.json"}  # beside the manifest
#: Parts of a model's function -> where they are configured.
FUNCTION_KEYS = {
    "encoder": "encoder and encoder_conf, and the preprocessor_config.json that its model had",
    "adapter": "speech_adapter and speech_adapter_conf",
    "lora": "lora_conf",
    "llm": "llm_conf",
    "tokenizer": "llm_conf.tokenizer and its chat template",
}
HEARD = "heard.json"  # beside the weights of a finished stage
DISTANCE = 100
"""Steps before the first bad one that a run goes back to at least: PaLM's (Chowdhery et al., 2022, 5.1)."""
LARGEST_HEARD = 1 << 28  # bytes; a bit an example


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What `load_trained` did: numbers of tensors by group (``adapter``, ``encoder``, ``llm``)."""

    path: str
    names: frozenset[str]
    loaded: dict[str, int]
    untouched: dict[str, int]

    def __str__(self) -> str:
        def listed(counts: dict[str, int]) -> str:
            return ", ".join(f"{group} {n}" for group, n in counts.items()) or "nothing"

        return (
            f"{self.path}: loaded {listed(self.loaded)} tensors; "
            f"never trained, so as in the base models: {listed(self.untouched)}"
        )


def trained_state(model: nn.Module, names: Collection[str]) -> dict[str, torch.Tensor]:
    """The parameters ``names`` and the buffers of the modules that own them, not copied.

    A batch norm that trained has running statistics that belong to its weights.
    """
    chosen = set(names)
    owners = {name.rpartition(".")[0] for name in chosen}
    state: dict[str, torch.Tensor] = {n: p for n, p in model.named_parameters() if n in chosen}
    persistent = model.state_dict(keep_vars=True)
    for name, buffer in model.named_buffers():
        if name in persistent and name.rpartition(".")[0] in owners:
            state[name] = buffer
    return {name: tensor.detach() for name, tensor in state.items()}


def save_trained(
    path: Path, model: nn.Module, names: Collection[str], metadata: dict[str, Any]
) -> None:
    """Write the ever-trained ``names`` of a model that is whole to ``path``, whole or not at all.

    Args:
        metadata: JSON values kept in the file's header; ``base_models`` is added to it.
    """
    state = {n: t.cpu().contiguous() for n, t in trained_state(model, names).items()}
    write_weights(path, state, {**metadata, **bases_of(model)})


def load_trained(model: nn.Module, path: str | Path) -> LoadReport:
    """Load ever-trained weights into ``model``.

    Raises:
        DataError: damaged file; other base models than those it was trained on; tensors that the
            model lacks or that have another shape; an adapter (which has no base) that is not in it.
    """
    metadata, tensors = read_weights(path)
    _check_made_for(model, metadata, tensors, path)
    _copy(model, tensors, str(path))
    own = [name for name, _ in model.named_parameters()]
    lacking = [name for name in own if name.startswith("adapter.") and name not in tensors]
    if lacking:
        raise DataError(
            f"{path}: lacks {len(lacking)} tensors of the adapter, such as {lacking[0]}; it was "
            "trained with another `speech_adapter_conf`"
        )
    report = LoadReport(
        str(path),
        frozenset(tensors),
        _count(n for n in own if n in tensors),
        _count(n for n in own if n not in tensors),
    )
    logging.info("%s", report)
    return report


def _copy(model: nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    targets = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    strangers = [name for name in tensors if name not in targets]
    if strangers:
        mend = " (is `lora_conf` missing?)" if ".lora_" in strangers[0] else ""
        raise DataError(
            f"{where}: holds {len(strangers)} tensors that the model lacks, such as "
            f"{strangers[0]}{mend}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != targets[name].shape:
            raise DataError(
                f"{where}: {name} has the shape {tuple(tensor.shape)}, the model's has "
                f"{tuple(targets[name].shape)}"
            )
        if tensor.is_floating_point() != targets[name].is_floating_point():
            raise DataError(
                f"{where}: {name} holds {tensor.dtype}, where the model has {targets[name].dtype}"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            targets[name].copy_(rows_of(tensor, targets[name]))


def bases_of(model: nn.Module) -> dict[str, Any]:
    """``{"base_models": …, "function": …}`` of a model that says what it was built on."""
    describe = getattr(model, "base_models", None)
    if describe is None:
        return {}
    return {"base_models": describe(), "function": dict(getattr(model, "function", {}))}


def _check_made_for(
    model: nn.Module, trained_as: Mapping[str, Any], names: Iterable[str], path: str | Path
) -> None:
    """Refuse weights of another base model or another function, by what is kept beside them."""
    bases = bases_of(model).get("base_models", [])
    check_bases(bases, trained_as.get("base_models", []), path)
    check_function(getattr(model, "function", {}), trained_as.get("function", {}), names, path)


def check_bases(
    own: list[dict[str, Any]], trained_on: list[dict[str, Any]], path: str | Path
) -> None:
    """Refuse weights that were trained on other base models than a model's ``own``.

    Args:
        own, trained_on: the ``base_models`` of the model, and of the header of the weights.

    Raises:
        DataError: names the part, and both base models.
    """
    by_part = {base["part"]: base for base in own}
    for base in trained_on:
        mine = by_part.get(base["part"], {})
        for key in ("config_sha256", "fingerprint"):
            if base.get(key) != mine.get(key):
                raise DataError(
                    f"{path}: was trained on another {base['part']}: {_named(base)}, and the model "
                    f"config names {_named(mine)} ({key} {str(base.get(key))[:12]} against "
                    f"{str(mine.get(key))[:12]})"
                )


def check_function(
    own: Mapping[str, str], trained_as: Mapping[str, str], names: Iterable[str], path: str | Path
) -> None:
    """Refuse weights that were trained in a model that computes something else.

    Args:
        own: the model's ``function`` (see `model.function`).
        trained_as: the ``function`` of the header of the weights (empty in old files).
        names: of the weights. LoRA's settings count where LoRA was trained.

    Raises:
        DataError: names the parts that differ.
    """
    has_lora = any(".lora_" in name for name in names)
    differing = [
        part
        for part, digest in trained_as.items()
        if part in own and own[part] != digest and (part != "lora" or has_lora)
    ]
    if differing:
        keys = ", ".join(FUNCTION_KEYS[part] for part in differing if part in FUNCTION_KEYS)
        raise DataError(
            f"{path}: was trained with other settings of the {' and the '.join(differing)}; give the "
            f"model file that it was trained with (see {keys})"
        )


def _named(base: dict[str, Any]) -> str:
    revision = f" at revision {base['revision']}" if base.get("revision") else ""
    return f"{base.get('name') or 'a random start'}{revision}"


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        group = name.split(".")[0]
        counts[group] = counts.get(group, 0) + 1
    return counts


# --- checkpoints -----------------------------------------------------------------------------


class Checkpoint(NamedTuple):
    """All that a run needs to continue as if nothing had happened.

    Attributes:
        weights: Ever-trained tensors by name.
        optimizer: State dicts of the optimizer and the learning-rate scheduler.
        state: JSON values: the position in the schedule and in the data, the history. The random state
            needs no place: it is a function of the seed, the rank and the step (see `step.seed_step`).
    """

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``directory``, whole or not at all.

    Raises:
        DataError: no space left on the disk. The checkpoints before it are untouched.
    """
    for left in directory.parent.glob(".[0-9]*"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    aside, old = (directory.with_name(f".{directory.name}.{name}") for name in ("tmp", "old"))
    try:
        aside.mkdir(parents=True)
        safetensors.torch.save_file(checkpoint.weights, aside / "weights.safetensors")
        apply_umask(aside / "weights.safetensors")
        torch.save(checkpoint.optimizer, aside / "optimizer.pt")
        (aside / "state.json").write_text(json.dumps(checkpoint.state), encoding="utf-8")
        hashes = {file.name: file_sha256(file) for file in sorted(aside.iterdir())}
        (aside / MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        for file in aside.iterdir():
            sync_file(file)
        sync_directory(aside)
        if directory.exists():  # of the same step: gone at once, since to remove it takes long
            directory.rename(old)
        aside.rename(directory)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if is_disk_full(error):
            raise DataError(
                f"{directory}: no space left on the disk for a checkpoint; the ones before it are "
                "whole: free some space and resume"
            ) from None
        raise
    sync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_old(newest: Path, keep: int, hours: float | None = None) -> None:
    """Keep the ``keep`` checkpoints up to the ``newest``, and of the older ones one in ``hours``.

    What was kept once for its hour stays. Those of later steps are damaged, or led to bad steps: the run
    has gone on from one before them, and they must not take its place.
    """
    due = 0.0  # seconds of the clock by which checkpoints are written
    found = find_checkpoints(newest.parent)
    place = found.index(newest)
    for later in found[:place]:
        shutil.rmtree(later, ignore_errors=True)
    for old in reversed(found[place + keep :]):
        manifest = old / MANIFEST
        written = manifest.stat().st_mtime if manifest.is_file() else -math.inf
        if hours is not None and written >= due:
            due = written + 3600 * hours
        else:
            shutil.rmtree(old, ignore_errors=True)


def put_back_replaced(parent: Path) -> None:
    """Give back its name to a checkpoint that a kill has left between its own place and another's."""
    for old in parent.glob(".[0-9]*.old"):
        directory = old.with_name(old.name[1 : -len(".old")])
        if not directory.exists():
            old.rename(directory)


def find_checkpoints(parent: Path) -> list[Path]:
    """The checkpoints below ``parent``, newest first."""
    if not parent.is_dir():
        return []
    return sorted((p for p in parent.iterdir() if p.name.isdigit()), reverse=True)


def before_bad_steps(checkpoints: Sequence[Path], phase: int, good: int) -> list[Path]:
    """The checkpoints to go back to from steps that are bad, the best first.

    It is the newest that is old enough, `DISTANCE` steps: what was kept just before the bad steps holds the
    weights that led to them. Where none is so old, it is the oldest.

    Args:
        checkpoints: newest first.
        phase: the step of the stage after which the phase began: what began to train there is in no older
            checkpoint.
        good: the step after which the bad ones began.
    """
    of_phase = [c for c in checkpoints if int(c.name) >= phase]
    young = [c for c in of_phase if int(c.name) > good - DISTANCE]
    return of_phase[len(young) :] + young[::-1]


def first_whole(checkpoints: Sequence[Path]) -> Path | None:
    """The first of the checkpoints that is whole; None when there is none at all.

    A damaged one is named and passed over for the next.

    Raises:
        DataError: there are checkpoints, and all are damaged.
    """
    for directory in checkpoints:
        fault = _fault(directory)
        if fault is None:
            return directory
        logging.warning("%s is damaged (%s); trying another checkpoint", directory, fault)
    if checkpoints:
        raise DataError(
            f"{checkpoints[0].parent}: all {len(checkpoints)} checkpoints are damaged; move the "
            "directory away to train this stage anew"
        )
    return None


def _fault(directory: Path) -> str | None:
    try:
        hashes = read_json(directory / MANIFEST)
        if not isinstance(hashes, dict) or hashes.keys() != _FILES:
            return f"{MANIFEST} is not one of a checkpoint"
        for name, expected in hashes.items():
            if file_sha256(directory / name) != expected:
                return f"{name} has changed"
    except (OSError, UserError) as error:
        return str(error)
    return None


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a checkpoint that is whole."""
    logging.info("resuming from %s", directory)
    return Checkpoint(
        safetensors.torch.load_file(directory / "weights.safetensors"),
        torch.load(directory / "optimizer.pt", map_location="cpu", weights_only=True),
        json.loads((directory / "state.json").read_text(encoding="utf-8")),
    )


def restore_weights(model: nn.Module, checkpoint: Checkpoint, where: str) -> None:
    """Copy a checkpoint's weights into ``model``.

    Raises:
        DataError: the model lacks a tensor, has another shape, or another base model.
    """
    _check_made_for(model, checkpoint.state, checkpoint.weights, where)
    _copy(model, checkpoint.weights, where)


# --- what has been heard ------------------------------------------------------------------------


def write_heard(output_dir: Path, streams: Streams, heard: Heard) -> None:
    """Keep what a finished stage has heard, for the stage after it."""
    with atomic_write(output_dir / HEARD) as file:
        json.dump(streams.to_json(heard), file)


def read_heard(init: Path, streams: Streams) -> Heard | None:
    """What the stage that trained the weights ``init`` had heard; None where it does not say.

    Raises:
        DataError: the file beside the weights is damaged.
    """
    path = init.parent / HEARD
    if not path.exists():
        logging.warning(
            "%s: there is no %s beside it, so all data are heard from the start", init, HEARD
        )
        return None
    heard, anew = streams.from_json(read_json(path, LARGEST_HEARD), str(path))
    logging.info("%s: going on with what has been heard least", path)
    if anew:
        logging.warning("%s: is of other utterances; heard anew: %s", path, ", ".join(anew))
    return heard
