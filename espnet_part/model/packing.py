"""Base models on their way into an archive: by name and commit, or inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.files import is_directory
from espnet_part.model.base import BaseModel, find_config, find_file, find_weights
from espnet_part.parsing import parse_yaml

_LICENCES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "USE_POLICY.md")
_INDEX = "model.safetensors.index.json"


@dataclass
class PackedBase:
    """A base model as it is packed.

    Attributes:
        base: its identity, as the packed weights are to carry it.
        conf: what the packed configuration says in its section; ``./NAME`` is one of ``files``, and
            ``.`` the directory that holds them.
        files: name -> file, of what goes inside.
        source: what it is, for the model card: a hub name, or the last part of a directory's.
        licence: as its own card states it; None where it does not.
    """

    base: BaseModel
    conf: dict[str, Any]
    source: str
    files: dict[str, Path] = field(default_factory=dict)
    licence: str | None = None

    def placed(self, folder: str) -> PackedBase:
        """The same with its files in ``folder`` of an archive or directory."""

        def place(value: Any) -> Any:
            inside = isinstance(value, str) and (value == "." or value.startswith("./"))
            return f"./{folder}{value[1:]}" if inside else value

        return dataclasses.replace(
            self,
            base=dataclasses.replace(self.base, name=place(self.base.name)),
            conf={key: place(value) for key, value in self.conf.items()},
            files={f"{folder}/{name}": path for name, path in self.files.items()},
        )


def pack_directory(
    conf: Any,
    base: BaseModel,
    with_base_models: bool,
    trained: Collection[str],
    names: Callable[[], Iterable[str]],
    fixed: Iterable[str] = (),
    more: Iterable[str] = (),
) -> PackedBase:
    """Pack a base model of transformers: a directory or a name of the hub, or sizes.

    Args:
        conf: its settings, with ``name``, ``revision`` and ``config``.
        base: its identity.
        trained: names of the trained tensors. names: gives those of all tensors of the model.
        fixed: prefixes of tensors that sizes alone decide.
        more: further files of the directory, where it has them.

    Raises:
        ConfigError: it is a directory that is to stay outside, or has random weights that are in no
            file.
    """
    values = {k: v for k, v in dataclasses.asdict(conf).items() if v is not None}
    part = base.part
    if conf.name is None:
        _check_random(part, trained, names(), tuple(fixed))
        return PackedBase(base, values, "made from a configuration, trained from random weights")
    name, revision = conf.name, conf.revision
    local = is_directory(name)
    source = Path(name).resolve().name if local else name
    licence = stated_licence(name, revision)
    if not with_base_models:
        if local:
            raise ConfigError(
                f"the {part} {name} is a directory of this machine: elsewhere the archive would not "
                "load. Put it inside with --with_base_models true, or train from a name of the hub"
            )
        commit = _commit(name, revision) or revision  # a branch may move
        return PackedBase(
            dataclasses.replace(base, revision=commit),
            {**values, "revision": commit} if commit else values,
            source,
            licence=licence,
        )
    found = [find_config(name, revision), *find_weights(name, revision)]
    files = {path.name: path for path in found}
    for filename in (*((_INDEX,) if len(files) > 2 else ()), *more, *_LICENCES):
        path = find_optional(name, revision, filename)
        if path is not None:
            files[filename] = path
    values.pop("revision", None)
    values["name"] = "."
    return PackedBase(
        dataclasses.replace(base, name=".", revision=None),
        values,
        source + (f" at {_commit(name, revision) or revision}" if not local else ""),
        files,
        licence,
    )


def stated_licence(name: str, revision: str | None) -> str | None:
    """The licence that a model's card states in its head."""
    card = find_optional(name, revision, "README.md")
    if card is None:
        return None
    _, mark, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    head, end, _ = rest.partition("\n---")
    if not mark or not end:
        return None
    try:
        values = parse_yaml(head, name)
    except ConfigError:
        return None
    licence = values.get("license") if isinstance(values, dict) else None
    return str(licence) if licence else None


def _commit(name: str, revision: str | None) -> str | None:
    """The commit that the cache holds under ``revision``: …/snapshots/<commit>/config.json."""
    path = find_config(name, revision)
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def find_optional(name: str, revision: str | None, filename: str) -> Path | None:
    """A file that the model may have."""
    try:
        return find_file(name, revision, filename)
    except ConfigError:
        return None  # without a network, a file that the model lacks cannot be told from others


def _check_random(
    part: str, trained: Collection[str], names: Iterable[str], fixed: tuple[str, ...]
) -> None:
    chosen = set(trained)
    lost = [
        name
        for name in names
        if name.startswith(f"{part}.")
        and name not in chosen
        and not any(name.startswith(f"{p}.") for p in fixed)
    ]
    if lost:
        raise ConfigError(
            f"the {part} has random weights, made from its configuration in memory, and "
            f"{len(lost)} of its tensors were never trained (such as {lost[0]}): they are in no "
            "file, so the model cannot be packed. Save the base model first and name it"
        )
