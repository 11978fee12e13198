"""Kinds of encoders and adapters: what a kind must have, what it may have, and how it is found.

A kind is a package, and each part of it is a module of that package:

    conf          must   `Conf`, the dataclass of its section in the model file; which of its keys are paths
    module        must   `build`, from a `Conf` to the torch module
    shapes        may    parameters by arithmetic; without it the module is built on torch's meta device
    operations    may    the forward pass as a list of operations, for part_plan
    packing       may    (encoders) its base model: identity, archive, export, trust

The Protocols below say what each of these modules holds. Only `module` may import torch, transformers
or ESPnet at its top; the others are imported by commands that answer in half a second. A kind that
lacks a part works wherever that part is not needed, and is refused by name where it is.

The kinds of this package are the folders of `espnet_part.model.encoders` and of
`espnet_part.model.adapters`: a new folder is a new kind. A plugin adds kinds through entry points,
whose values are packages:

    [project.entry-points."espnet_part.encoders"]
    mine = "my_plugin.my_encoder"

(and the group ``espnet_part.adapters``). A kind of this package goes before a plugin's of its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from espnet_part.display import plain
from espnet_part.errors import ConfigError
from espnet_part.model.base import BaseModel
from espnet_part.model.operations import AdapterOperations, EncoderOperations
from espnet_part.model.packing import PackedBase
from espnet_part.plugins import (
    describe_failure,
    describe_plugin,
    load_plugin,
    plugin_names,
)

Shape = tuple[int, ...]


class Encoder(Protocol):
    """A built encoder, a torch module.

    Attributes:
        dim: width of its states.
        layers: its Transformer (or other) blocks, which selectors name ``encoder.layers[-8:]``:
            whatever a library calls them, their parameters are named ``layers.N.*`` here.
        layers_run_once: whether a pass runs each of ``layers`` once, whatever the batch; may be
            missing: no. Only then can they be sharded one by one (``--parallel fsdp2``).
        base: the pretrained model that its weights are from; None without weights.
        protected: names of its modules that train only where a selector names them outright.
    """

    dim: int
    layers: Any
    layers_run_once: bool
    base: BaseModel | None
    protected: tuple[str, ...]

    def output_lengths(self, num_samples: Any) -> Any:
        """(S,) numbers of states of clips of so many samples: exact, at least 1, on any device."""

    def __call__(self, speech: Any, lengths: Any) -> tuple[Any, Any]:
        """(S, T) 16 kHz waveforms, zero behind their ``lengths`` (S,) in samples, to (S, T', dim)
        states, zero behind their lengths (S,). A clip's states do not depend on its batch."""


class Adapter(Protocol):
    """A built adapter, a torch module from an encoder's states to an LLM's embeddings."""

    def match_scale(self, std: float) -> None:
        """Let the output start with the standard deviation ``std``, that of the embeddings."""

    def output_lengths(self, frames: Any) -> Any:
        """(S,) numbers of embeddings of (S,) numbers of states, at least 1; where they depend on what
        is said, the most there can be, by which batches and the LLM's context are planned."""

    def __call__(self, x: Any, lengths: Any) -> tuple[Any, Any]:
        """(S, T, encoder_dim) states with lengths (S,) to (S, T', llm_dim), zero behind their
        lengths (S,). What is behind ``lengths`` in x has no influence."""


class TranscribingAdapter(Adapter, Protocol):
    """An adapter that also learns from what is said in a clip, by a loss of its own.

    Attributes:
        own_loss: True, by which it is known.
    """

    own_loss: bool

    def __call__(self, x: Any, lengths: Any, transcripts: Any = None) -> Any:
        """As `Adapter`; with ``transcripts`` (a list of S texts, None where unknown) it also returns
        its loss by clip, (S,) in nats."""


class ReadingAdapter(Adapter, Protocol):
    """An adapter that speaks to the LLM in the LLM's own tokens. It is known by its method."""

    def read_llm(self, embedding: Any, tokenizer: Any) -> None:
        """Take the LLM's table of embeddings and its tokenizer, before the first pass."""


class HearingAdapter(Adapter, Protocol):
    """An adapter that knows by itself what is said in a clip, and how likely another text is.

    It is known by its method `second_opinion`; one that says where parts of a text are heard, by `heard_at`.
    """

    def second_opinion(self, x: Any, lengths: Any, texts: Any) -> tuple[Any, Any, Any]:
        """Its own transcript of each clip, their log probabilities, and by how many nats a unit the
        ``texts`` (a list of S) are less likely to it than its own."""


class ConfPart(Protocol):
    """``conf.py``; without torch.

    Attributes:
        Conf: a pydantic dataclass with keyword arguments, which validates itself. It may have a
            method `resolved`, which gives it with what the base model's files decide where a setting
            leaves that to them, and with the default where that is what comes out: trained weights
            and cached states are compared by it.
        FILES: keys of it that name files. MODELS: that name a directory or a model of the hub, of the
            revision in its key ``revision``, if it has one. These are what it needs on this machine.
        PROTECTED: of an encoder, as in `Encoder`. Each of the three may be missing: none.
        OWN_LOSS: whether an adapter learns by a loss of its own (see `TranscribingAdapter`); may be
            missing: it does not.
        HEARS: whether an adapter knows by itself what is said (see `HearingAdapter`); may be missing:
            it does not.
        EXACT_LENGTHS: whether an adapter's `output_lengths` are exact, and it needs nothing of the LLM:
            then vLLM can have it. May be missing: they are not.
    """

    Conf: type[Any]
    FILES: tuple[str, ...]
    MODELS: tuple[str, ...]
    PROTECTED: tuple[str, ...]
    OWN_LOSS: bool
    HEARS: bool
    EXACT_LENGTHS: bool


class EncoderModulePart(Protocol):
    """``module.py`` of an encoder."""

    def build(self, conf: Any, load_weights: bool = True) -> Encoder:
        """Build it; without ``load_weights`` a file of the base model's weights is not touched.

        Raises:
            ConfigError: no such model, of another kind, weights missing or of another shape.
        """


class AdapterModulePart(Protocol):
    """``module.py`` of an adapter."""

    def build(self, conf: Any, encoder_dim: int, llm_dim: int) -> Adapter:
        """Build it between states and embeddings of these widths."""


class EncoderShapesPart(Protocol):
    """``shapes.py`` of an encoder; without torch."""

    def shapes(self, conf: Any) -> tuple[int, Mapping[str, Shape]] | None:
        """The width of its states, and its parameters in the module's order, ``encoder.`` in front
        of their names. None where its sizes are not known here."""


class AdapterShapesPart(Protocol):
    """``shapes.py`` of an adapter; without torch."""

    def shapes(self, conf: Any, encoder_dim: int, llm_dim: int) -> Mapping[str, Shape]:
        """Its parameters in the module's order, ``adapter.`` in front of their names."""


class EncoderOperationsPart(Protocol):
    """``operations.py`` of an encoder; without torch where its sizes can be had without."""

    def operations(self, conf: Any) -> EncoderOperations | None:
        """Its forward pass; None where its sizes are not known here."""


class AdapterOperationsPart(Protocol):
    """``operations.py`` of an adapter; without torch."""

    def operations(self, conf: Any, encoder_dim: int, llm_dim: int) -> AdapterOperations:
        """Its forward pass."""


class PackingPart(Protocol):
    """``packing.py`` of an encoder: its base model, when a trained model moves."""

    def identify(self, conf: Any) -> BaseModel:
        """What a model built from ``conf`` has as its `Encoder.base`, from files alone."""

    def pack(
        self,
        conf: Any,
        base: BaseModel,
        with_base_models: bool,
        trained: Collection[str],
        names: Callable[[], Iterable[str]],
        room: Path,
    ) -> PackedBase:
        """Decide what of the base model goes into an archive.

        Args:
            base: what `identify` gave.
            trained: full names of the trained tensors. names: gives those of all tensors.
            room: an empty directory for files that are made.

        Raises:
            ConfigError: it cannot be packed like this.
        """

    def export(self, encoder: Any, conf: Any, directory: Path) -> PackedBase:
        """Write the (trained) encoder into ``directory``, which exists and is empty.

        Returns:
            Its identity, and a configuration in which ``./NAME`` is in ``directory``.
        """

    def without_files(self, encoder: Any, conf: Any) -> dict[str, Any]:
        """A configuration that names no file, from which `EncoderModulePart.build` makes the encoder
        but for its weights, where ESPnet is not installed. May be missing; then vLLM cannot have it."""

    def check(self, conf: Mapping[str, Any], where: Path) -> None:
        """Refuse what the configuration of a stranger's packed model must not name.

        Args:
            conf: its section, not validated, with paths that can be opened. where: its file.

        Raises:
            DataError: names it.
        """


class Kinds:
    """The kinds of one sort of part: those of this package, and those of plugins.

    Args:
        what: "encoder" or "adapter", for messages.
        package: holds the own kinds, each a package.
        group: of the plugins' entry points.
    """

    def __init__(self, what: str, package: str, group: str) -> None:
        self.what = what
        self.package = package
        self.group = group

    def own(self) -> list[str]:
        """Names of the kinds of this package."""
        path = importlib.import_module(self.package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(path) if module.ispkg)

    def names(self) -> list[str]:
        """Names of all kinds, those of this package first."""
        own = self.own()
        return own + [name for name in plugin_names(self.group) if name not in own]

    def conf(self, name: str) -> ConfPart:
        """The part ``conf`` of a kind, with what may be missing in it.

        Raises:
            ConfigError: no such kind, or it cannot be imported.
        """
        part = self.need(name, "conf", "configured")
        defaults = {
            "FILES": (),
            "MODELS": (),
            "PROTECTED": (),
            "OWN_LOSS": False,
            "HEARS": False,
            "EXACT_LENGTHS": False,
        }
        for key, default in defaults.items():
            if not hasattr(part, key):
                setattr(part, key, default)
        return cast(ConfPart, part)

    def find(self, name: str, part: str) -> Any | None:
        """A part of a kind; None where the kind lacks it.

        Raises:
            ConfigError: no such kind, or it cannot be imported.
        """
        module = f"{self._package(name)}.{part}"
        try:
            return importlib.import_module(module)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == module:
                return None
            if name in self.own() and not isinstance(error, ImportError):
                raise
            where = self._where(name)
            raise ConfigError(f"{where} cannot be imported: {describe_failure(error)}") from error

    def need(self, name: str, part: str, purpose: str) -> Any:
        """A part of a kind.

        Args:
            purpose: what it is for, in messages: the kind cannot be …

        Raises:
            ConfigError: no such kind, it cannot be imported, or it lacks the part.
        """
        found = self.find(name, part)
        if found is None:
            raise ConfigError(
                f"{self.what} kind {name}: cannot be {purpose}: it declares no {part}"
            )
        return found

    def _package(self, name: str) -> str:
        if name in self.own():
            return f"{self.package}.{name}"
        if name in plugin_names(self.group):
            package = load_plugin(self.group, name)
            if not isinstance(package, ModuleType) or not hasattr(package, "__path__"):
                raise ConfigError(
                    f"{describe_plugin(self.group, name)} must name a package with the modules conf "
                    f"and module, and names {plain(type(package).__name__, 100)}"
                )
            return package.__name__
        raise ConfigError(f"{self.what} kind {name!r} is not one of {', '.join(self.names())}")

    def _where(self, name: str) -> str:
        where = f"{self.what} kind {name}:"
        return where if name in self.own() else f"{where} {describe_plugin(self.group, name)}"


class EncoderKinds(Kinds):
    """Kinds of encoders; the methods give the parts of one."""

    def module(self, name: str) -> EncoderModulePart:
        return cast(EncoderModulePart, self.need(name, "module", "built"))

    def shapes(self, name: str) -> EncoderShapesPart | None:
        return cast("EncoderShapesPart | None", self.find(name, "shapes"))

    def operations(self, name: str) -> EncoderOperationsPart:
        return cast(EncoderOperationsPart, self.need(name, "operations", "planned"))

    def packing(self, name: str) -> PackingPart:
        return cast(PackingPart, self.need(name, "packing", "packed"))


class AdapterKinds(Kinds):
    """Kinds of adapters; the methods give the parts of one."""

    def module(self, name: str) -> AdapterModulePart:
        return cast(AdapterModulePart, self.need(name, "module", "built"))

    def shapes(self, name: str) -> AdapterShapesPart | None:
        return cast("AdapterShapesPart | None", self.find(name, "shapes"))

    def operations(self, name: str) -> AdapterOperationsPart:
        return cast(AdapterOperationsPart, self.need(name, "operations", "planned"))
