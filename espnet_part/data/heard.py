"""What a run has heard of its data, carried through its phases and from stage to stage."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from espnet_part.data.examples import Examples
from espnet_part.errors import DataError


class Heard:
    """What had been heard when a phase began. Each process of a node holds it: a bit an example.

    Args:
        pools: Pools of steps that were drawn by then (see `dataset.PhaseData`); seeds what follows.
        ahead: (N,) bool by example: heard once more than the others of its stratum. The counts of
            two examples of a stratum never differ by more than one at the end of a phase.
    """

    __slots__ = ("_bits", "_count", "pools")

    def __init__(self, pools: int, ahead: np.ndarray) -> None:
        self.pools = pools
        self._bits, self._count = np.packbits(ahead), len(ahead)

    @property
    def ahead(self) -> np.ndarray:
        """(N,) bool by example, made anew."""
        return np.unpackbits(self._bits, count=self._count).view(bool)

    def is_ahead(self, positions: np.ndarray) -> np.ndarray:
        """(n,) bool of the examples at (n,) ``positions``, from their bits alone."""
        shifts = 7 - (positions & 7).astype(np.uint8)
        return (self._bits[positions >> 3] >> shifts & 1).view(bool)

    @classmethod
    def nothing(cls, count: int) -> Heard:
        """The state before a run, of ``count`` examples."""
        return cls(0, np.zeros(count, dtype=bool))


class Streams:
    """The strata of the data, to keep a `Heard` beside them and find it again."""

    def __init__(self, examples: Examples) -> None:
        self.count = len(examples)
        self.members = examples.strata
        self.ids = {stratum: examples.ids_digest(stratum) for stratum in self.members}

    def to_json(self, heard: Heard) -> dict[str, Any]:
        """JSON values: a bit an example, compressed."""
        streams = {}
        for stratum, positions in self.members.items():
            bits = zlib.compress(np.packbits(heard.is_ahead(positions)).tobytes())
            streams["/".join(stratum)] = {
                "ids": self.ids[stratum],
                "ahead": base64.b64encode(bits).decode("ascii"),
            }
        return {"pools": heard.pools, "streams": streams}

    def from_json(self, saved: Mapping[str, Any], where: str) -> tuple[Heard, list[str]]:
        """Read what `to_json` gave.

        Returns:
            The state, and the names of the streams that begin anew since their utterances are
            others than they were.

        Raises:
            DataError: not such values.
        """
        ahead = np.zeros(self.count, dtype=bool)
        anew = []
        try:
            for stratum, positions in self.members.items():
                name = "/".join(stratum)
                stream = saved["streams"].get(name)
                if stream is None:
                    continue  # heard for the first time
                if stream["ids"] != self.ids[stratum]:
                    anew.append(name)
                    continue
                most = len(positions) // 8 + 1
                packed = zlib.decompressobj().decompress(base64.b64decode(stream["ahead"]), most)
                bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=len(positions))
                ahead[positions] = bits.astype(bool)
            return Heard(int(saved["pools"]), ahead), anew
        except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise DataError(f"{where}: does not say what has been heard: {error}") from None
