"""Paths in a run's configuration: relative to the recipe in training, to the file once packed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from espnet_part.config import load_yaml
from espnet_part.errors import DataError
from espnet_part.files import is_regular
from espnet_part.model.config import DEFAULT_ENCODER
from espnet_part.model.encoders import ENCODERS
from espnet_part.pack.trusted import check_packed

#: The file that is in every packed or exported model and in no run, as ESPnet's model zoo has it.
META = "meta.yaml"
#: The key of a packed configuration, in which "./name" is beside the configuration itself.
PACKED = "packed_by"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?\Z")


def refuse_existing(out: Path) -> None:
    """Refuse a directory to be written that holds something.

    Raises:
        DataError: it does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is there already; name another directory")


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory to write into, which gets the name ``out`` when the block ends without an error.

    Raises:
        DataError: ``out`` holds something.
    """
    refuse_existing(out)
    aside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        if out.exists():
            out.rmdir()
        aside.rename(out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def load_run_config(path: str | Path) -> dict[str, Any]:
    """Load the configuration of a run or of a packed model, with paths that can be opened from here.

    A run's relative paths start from its recipe's directory (see `find_recipe`), a packed model's
    from the configuration itself.

    Raises:
        ConfigError: missing or unreadable file.
        DataError: a packed configuration names a file outside its directory, or what could run
            code (see `espnet_part.pack.trusted`).
    """
    path = Path(path)
    values = load_yaml(path)
    if PACKED in values or _in_packed_model(path):
        values = map_paths(values, lambda value, is_file: _beside(value, is_file, path))
        check_packed(values, path)
        return values
    recipe = find_recipe(values, path)
    if recipe == Path():
        return values

    def from_recipe(value: str, is_file: bool) -> str:
        return str(recipe / value) if (recipe / value).exists() else value

    return map_paths(values, from_recipe)


def _in_packed_model(config: Path) -> bool:
    """Whether the file is in a packed model, whatever it says of itself.

    Whoever makes an archive must not decide whether its configuration is trusted.
    """
    metas = (directory / META for directory in config.absolute().parents)
    return any(
        meta.is_file() and b"part_train_config" in meta.read_bytes()  # others' are called so, too
        for meta in metas
    )


def find_recipe(values: dict[str, Any], path: Path) -> Path:
    """Where a run's relative paths start: above the run, where its prompts are; else here.

    The current directory comes last: another recipe may be there, with prompts of the same name.
    """
    prompts = values.get("prompts")
    if isinstance(prompts, str) and not Path(prompts).is_absolute():
        for directory in (*path.absolute().parents, *path.resolve().parents):
            if is_regular(directory / prompts):
                return Path() if directory.resolve() == Path.cwd() else directory
    return Path()


def map_paths(values: dict[str, Any], function: Callable[[str, bool], str]) -> dict[str, Any]:
    """Apply ``function(value, is_file)`` to every path of the model's keys; nothing is modified.

    Raises:
        ConfigError: an encoder of no known kind, whose keys could be paths.
    """
    result = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    encoder = ENCODERS.conf(values.get("encoder", DEFAULT_ENCODER))
    for holder, files, models in (
        (result, ("prompts",), ()),
        (result.get("encoder_conf"), encoder.FILES, encoder.MODELS),
        (result.get("llm_conf"), (), ("name", "tokenizer")),
    ):
        for key in (*files, *models):
            if isinstance(holder, dict) and isinstance(holder.get(key), str):
                holder[key] = function(holder[key], key in files)
    return result


def inside(name: str, directory: Path, where: Path) -> Path:
    """The path of ``name`` in ``directory``.

    Raises:
        DataError: it is not in there; the message names ``where`` it is written.
    """
    path = directory / name
    parent = path.parent.resolve()  # not the file itself: in the hub's cache it is a link
    if ".." in PurePosixPath(name).parts or not parent.is_relative_to(directory.resolve()):
        raise DataError(f"{where}: names {name!r}, which is outside the packed model")
    return path


def _beside(value: str, is_file: bool, config: Path) -> str:
    if not is_file and _HUB_NAME.match(value):
        return value
    if value.startswith("./") or Path(value).is_absolute():  # absolute once ESPnet has unpacked it
        return str(inside(value, config.parent.absolute(), config))
    raise DataError(f"{config}: names {value!r}, which is outside the packed model")
