"""The examples of a run, and the few numbers of each that planning needs."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from espnet_part.data import Stratum
from espnet_part.data.datadir import Example
from espnet_part.data.shards import number_shards

#: Examples that are hashed at once, with nothing between two such blocks.
BLOCK = 10_000


class Examples(Sequence[Example]):
    """Examples by position, and columns of all of them.

    Attributes:
        samples: (N,) ints, lengths at 16 kHz: 0 for text, -1 where unknown.
        has_feats: (N,) bool, whether the encoder's output is cached.
        shards: (N,) ints, the file that the audio is in (see `shards.number_shards`).
        strata: positions of the examples of each (task, language, target language), in a fixed order.
        token_counts: (N,) tokens of the longest wording of the prompt and (N,) of the answer; None where
            nobody has counted.
        digest: what the examples are, but for where their audio is.
    """

    samples: np.ndarray
    has_feats: np.ndarray
    shards: np.ndarray
    strata: Mapping[Stratum, np.ndarray]
    token_counts: tuple[np.ndarray, np.ndarray] | None
    digest: str

    @abstractmethod
    def ids_digest(self, stratum: Stratum) -> str:
        """What the ids of a stratum are, in their order."""

    @abstractmethod
    def utt_ids(self) -> Iterator[str]:
        """The ids of all examples, in their order."""

    @property
    def tasks(self) -> list[str]:
        """The names of all tasks."""
        return sorted({stratum[0] for stratum in self.strata})


class ExampleList(Examples):
    """Examples in memory."""

    token_counts = None

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: Any) -> Any:
        return self._examples[position]

    @cached_property
    def samples(self) -> np.ndarray:  # type: ignore[override]
        return np.array([samples_of(e) for e in self._examples], dtype=np.int64)

    @cached_property
    def has_feats(self) -> np.ndarray:  # type: ignore[override]
        return np.array([e.feats is not None for e in self._examples], dtype=bool)

    @cached_property
    def shards(self) -> np.ndarray:  # type: ignore[override]
        return number_shards([pa.array([e.audio for e in self._examples], pa.string())])

    @cached_property
    def strata(self) -> Mapping[Stratum, np.ndarray]:  # type: ignore[override]
        found: dict[Stratum, list[int]] = {}
        for position, example in enumerate(self._examples):
            found.setdefault((example.task, example.lang, example.tgt), []).append(position)
        return {stratum: np.array(found[stratum], dtype=np.int64) for stratum in sorted(found)}

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        data = hashlib.sha256()
        for start in range(0, len(self._examples), BLOCK):
            data.update(as_bytes(self._examples[start : start + BLOCK]))
        return data.hexdigest()

    def utt_ids(self) -> Iterator[str]:
        return (example.utt_id for example in self._examples)

    def ids_digest(self, stratum: Stratum) -> str:
        ids = (self._examples[n].utt_id for n in self.strata[stratum].tolist())
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()


class WithFeats(Examples):
    """Examples with cached outputs of an encoder in the place of those that they had.

    Args:
        examples: the same but for these.
        feats: utterance -> entry of ``feats.scp``.
    """

    def __init__(self, examples: Examples, feats: Mapping[str, str]) -> None:
        self._examples = examples
        self._entries = pa.array(map(feats.get, examples.utt_ids()), pa.string())
        self.samples, self.strata = examples.samples, examples.strata
        self.has_feats = self._entries.is_valid().to_numpy(zero_copy_only=False)
        self.token_counts = examples.token_counts

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[n] for n in range(*position.indices(len(self)))]
        entry = self._entries[int(position)].as_py()
        return dataclasses.replace(self._examples[position], feats=entry)

    @property
    def shards(self) -> np.ndarray:  # type: ignore[override]
        return self._examples.shards

    @property
    def digest(self) -> str:  # type: ignore[override]
        return self._examples.digest

    def utt_ids(self) -> Iterator[str]:
        return self._examples.utt_ids()

    def ids_digest(self, stratum: Stratum) -> str:
        return self._examples.ids_digest(stratum)


def samples_of(example: Example) -> int:
    """The length at 16 kHz: 0 of text, -1 where unknown."""
    return 0 if example.audio is None else example.num_samples or -1


def as_bytes(examples: Sequence[Example]) -> bytes:
    """All of a block of examples but where their audio is."""
    return "\n".join(
        f"{e.utt_id}\0{e.task}\0{e.lang}\0{e.tgt}\0{e.num_samples}\0{e.src_text}\0{e.text}"
        for e in examples
    ).encode()
