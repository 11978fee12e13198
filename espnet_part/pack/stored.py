"""A model that somebody trained, packed or exported: finding its configuration and its weights."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from espnet_part.archive import unpack
from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.base import file_sha256
from espnet_part.pack import manifest
from espnet_part.pack.locations import META, inside
from espnet_part.pack.manifest import check_files

CONFIG = "config.yaml"
WEIGHTS = "valid.acc.ave.safetensors"
#: What a packed model may hold: data that are read without running any of them.
SUFFIXES = frozenset(
    [
        *("", ".yaml", ".json", ".jsonl", ".md", ".txt", ".jinja", ".png"),
        *(".safetensors", ".model", ".npz", ".npy"),
        *(".lock", ".zip"),  # of ESPnet's model zoo, beside what it unpacked
    ]
)
#: transformers would load weights that such a file names, from wherever it says.
_REFUSED = ("adapter_config.json",)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?\Z")


@dataclass(frozen=True)
class StoredModel:
    """Where a model's configuration and its trained weights are."""

    config: Path
    weights: Path


def find_model(
    model: str | Path, revision: str | None = None, cache: str | Path | None = None
) -> StoredModel:
    """Find a model; an archive is unpacked into the cache, where the next call finds it.

    Args:
        model: a zip of `part_pack`; a directory that it was unpacked to, or of `part_export`; an
            experiment (``exp/part``, of which the last stage counts, or ``exp/part/stage3``); its
            ``config.yaml``; or ``owner/name`` (also ``owner/name@revision``) of the
            Hugging Face hub.
        revision: of the hub's model.
        cache: by default ``$ESPNET_PART_CACHE``, or ``~/.cache/espnet_part``.

    Raises:
        DataError: there is none, or it holds what should not be in it.
        ConfigError: the hub does not give it.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _in_directory(path)
    if path.is_file():
        if path.suffix in (".yaml", ".yml"):
            return StoredModel(path, _beside(path))
        room = Path(cache) if cache else cache_directory()
        return _packed(_unpacked(path, room), room)
    if _HUB_ID.match(str(model)):
        return _packed(_fetch(str(model), revision))
    raise DataError(f"{model}: neither a file nor a directory, nor owner/name of the hub")


def choose_model(
    model: str | Path | None, train_config: str | None, model_file: str | None
) -> StoredModel:
    """The model that a command's options name: either ``model``, or ``train_config``.

    Args:
        model: as `find_model` takes it. train_config: config.yaml of a training.
        model_file: other weights than the model's own.

    Raises:
        ConfigError: both are given, or none. DataError: as `find_model`.
    """
    if (model is None) == (train_config is None):
        raise ConfigError("give either --model or --part_train_config")
    if train_config and model_file:
        return StoredModel(Path(train_config), Path(model_file))
    found = find_model(model or train_config or "")
    return StoredModel(found.config, Path(model_file)) if model_file else found


def cache_directory() -> Path:
    """Where archives are unpacked."""
    if os.environ.get("ESPNET_PART_CACHE"):
        return Path(os.environ["ESPNET_PART_CACHE"]).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "espnet_part"


def _in_directory(directory: Path) -> StoredModel:
    if (directory / META).is_file():
        return _packed(directory)
    if (directory / CONFIG).is_file():
        return StoredModel(directory / CONFIG, _beside(directory / CONFIG))
    stages = list(directory.glob(f"stage*/{CONFIG}"))
    if stages:
        last = max(stages, key=lambda path: natural_order(path.parent.name))
        return StoredModel(last, _beside(last))
    raise DataError(
        f"{directory}: no model: neither {META} (packed or exported) nor {CONFIG} (a training) nor "
        f"stage*/{CONFIG} (an experiment) is in it"
    )


def _packed(directory: Path, cache: Path | None = None) -> StoredModel:
    """A model that somebody else may have made: only what `part_pack` and `part_export` write."""
    if not (directory / META).is_file():
        raise DataError(f"{directory}: no packed model: {META} is missing")
    for path in directory.rglob("*"):
        if path.is_file() and (path.suffix not in SUFFIXES or path.name in _REFUSED):
            raise DataError(
                f"{directory}: holds {path.relative_to(directory)}; a packed model holds no files "
                "that could run code or bring other weights along"
            )
    meta = directory / META
    values = load_yaml(meta)
    try:
        config = str(values["yaml_files"]["part_train_config"])
        weights = str(values["files"]["part_model_file"])
    except (KeyError, TypeError):
        raise DataError(
            f"{meta}: not of this package: it names no yaml_files.part_train_config or no "
            "files.part_model_file"
        ) from None
    found = StoredModel(inside(config, directory, meta), inside(weights, directory, meta))
    for path in (found.config, found.weights):
        if not path.is_file():
            raise DataError(f"{meta}: names {path.name}, which is missing")
    check_files(directory, values.get(manifest.KEY), cache or cache_directory())
    return found


def natural_order(name: str) -> list[tuple[int, str]]:
    """For sorting: stage10 comes after stage9."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def _beside(config: Path) -> Path:
    """The weights of a run: the average of its best models."""
    directory = config.parent
    if (directory / META).is_file():
        return _packed(directory).weights
    averages = sorted(directory.glob("*.ave.safetensors"))
    if directory / WEIGHTS in averages:
        return directory / WEIGHTS
    if len(averages) == 1:
        return averages[0]
    what = ", ".join(path.name for path in averages) or "no *.ave.safetensors"
    raise DataError(
        f"{directory}: which weights? {WEIGHTS} is not there ({what}); give part_model_file"
    )


def _unpacked(archive: Path, cache: Path) -> Path:
    from filelock import FileLock

    directory = cache / "models" / file_sha256(archive)
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"):  # the jobs of a decoding start at the same time
            if not directory.is_dir():
                unpack(archive, directory)
    return directory


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    name, _, at = name.partition("@")
    suffixes = sorted(SUFFIXES - {"", ".lock", ".zip"})
    patterns = [f"*{suffix}" for suffix in suffixes] + ["text_normalizer"]
    try:
        return Path(
            snapshot_download(name, revision=revision or at or None, allow_patterns=patterns)
        )
    except (errors.HFValidationError, errors.HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{name}: no file or directory, and no model that the hub gives: {reason}"
        ) from None
