"""The order of a pass over examples whose audio is in large files, a few of which are read at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NO_AUDIO = -1


def number_shards(entries: Iterable[pa.Array]) -> np.ndarray:
    """The file that each example's audio is in, as a number; the same for those in the same file.

    A file is what is before the places, ``:OFFSET`` or ``:OFFSET:SIZE``, at the end of an entry. Millions of
    entries take seconds.

    Args:
        entries: of ``wav.scp`` in blocks; null for a text.

    Returns:
        (N,) signed ints, as small as their number allows; -1 for all texts.
    """
    numbers: dict[str, int] = {}
    found = [np.empty(0, dtype=np.int32)]
    for block in entries:
        files = pc.utf8_rtrim(block, characters="0123456789:").dictionary_encode()
        own = [numbers.setdefault(name, len(numbers)) for name in files.dictionary.to_pylist()]
        codes = np.array([*own, _NO_AUDIO], dtype=np.int32)
        found.append(codes[files.indices.fill_null(len(own)).to_numpy(zero_copy_only=False)])
    # each process holds them; adding 1 must not overflow
    return np.concatenate(found).astype(np.min_scalar_type(-len(numbers) - 2))


def shard_order(
    members: np.ndarray, rng: np.random.Generator, shards: np.ndarray, window: int
) -> np.ndarray:
    """A random order of examples in which those of few shards stand together.

    The shards are put into a random order and cut into windows; the examples of a window are shuffled.

    Args:
        members: (n,) positions of the examples.
        rng: decides the order.
        shards: of all examples, by position (see `number_shards`).
        window: shards of a window.

    Returns:
        (n,) the members.
    """
    of_member = shards[members] + 1  # from 0 on
    present = np.flatnonzero(np.bincount(of_member))
    windows = np.zeros(present.max(initial=0) + 1, np.min_scalar_type(len(present)))
    windows[present] = rng.permutation(len(present)) // min(window, len(present) + 1)
    order = rng.permutation(len(members))
    return members[order[np.argsort(windows[of_member[order]], kind="stable")]]
