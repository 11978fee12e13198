"""The keys and values of rows that are being decoded, which come and go."""

from __future__ import annotations

import weakref
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_ROOM = 64  # positions that are left behind the rows when they move


def keeps_all(model: Any) -> bool:
    """Whether a causal LM of transformers keeps the keys and values of all positions, and no more.

    Then rows can come and go. Those that keep a state instead (Mamba), share caches between layers
    (Gemma 3n) or attend in chunks (Llama 4) are decoded in whole batches.
    """
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    layers = DynamicCache(config=model.config).layers
    return (
        not getattr(model, "_is_stateful", False)
        and not getattr(config, "num_kv_shared_layers", 0)
        and not getattr(config, "attention_chunk_size", None)
        and kinds <= {"full_attention", "sliding_attention"}
        and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    )


class Rows:
    """The caches of the rows that run, all ending at the same position::

        row 0   . . p p p a a a |
        row 1   p p p p p p a a |  next     p: prompt, a: answer, .: nothing
        row 2   . . . . . p p a |

    As with padding on the left, the distance of two positions is that of their tokens, so masks of
    sliding windows are right. A row that joins is copied to the end; one that leaves is replaced by
    the last one. The tensors grow in place, and are moved to the front when they reach the end. Before
    a row is nothing of another one: masked, it would still be multiplied by 0, and 0 x NaN is NaN.

    Attributes:
        most, longest: what was reserved last.
        starts: where each row begins.
        cache: for the model's forward pass of one position a row.
    """

    def __init__(self) -> None:
        self.most = self.longest = 0
        self.starts: list[int] = []
        self.end = 0
        self.layers: list[_Layer] = []
        self.cache = DynamicCache()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def first(self) -> int:
        """Where the longest row begins."""
        return min(self.starts, default=self.end)

    def mask(self, device: torch.device) -> Tensor:
        """(rows, positions and the next one), true where there is a token."""
        at = torch.arange(self.first, self.end + 1, device=device)
        return at >= torch.tensor(self.starts, device=device)[:, None]

    def reserve(self, rows: int, positions: int) -> None:
        """Say how many rows there will be at once from now on, and the most positions of one.

        The tensors are as large, and some room for moving, at most; they are made anew when they are
        too small for what is to be in them.
        """
        self.most, self.longest = rows, positions

    def join(self, prefilled: DynamicCache, row: int, length: int) -> None:
        """Add a row of a batch that the model has read, left-padded; its last ``length`` positions."""
        if not self.layers:
            self.layers = [_Layer(self, read) for read in prefilled.layers]
            self.cache.layers = cast(Any, self.layers)
        if not self.starts:
            self.end = 0
        if length > self.end or len(self) == self.layers[0].most:
            self._move(max(length, self.end - self.first))
        start = self.end - length
        self.starts.append(start)
        for layer, read in zip(self.layers, cast(Any, prefilled.layers), strict=True):
            for kept, new in ((layer.keys, read.keys), (layer.values, read.values)):
                kept[len(self) - 1, :, :start] = 0
                kept[len(self) - 1, :, start : self.end] = new[row, :, -length:]

    def leave(self, row: int) -> None:
        """Remove a row; the last one takes its place."""
        last = len(self.starts) - 1
        if row != last:
            start = self.starts[last]
            for layer in self.layers:
                for kept in (layer.keys, layer.values):
                    kept[row, :, :start] = 0
                    kept[row, :, start : self.end] = kept[last, :, start : self.end]
            self.starts[row] = start
        self.starts.pop()

    def advance(self) -> None:
        """The model has read one more position of each row."""
        self.end += 1
        if self.end == self.layers[0].capacity:
            self._move(self.end - self.first)

    def _move(self, end: int) -> None:
        """Let the rows end at ``end``, with room behind it."""
        for layer in self.layers:
            layer.move(len(self), slice(self.first, self.end), end)
        self.starts = [start + end - self.end for start in self.starts]
        self.end = end


class _Layer(DynamicLayer):
    """What one layer of the model sees of the rows: positions from the longest row's first on.

    Args:
        rows: what they are. like: the same layer's cache of a batch.
    """

    keys: Tensor  # (most, heads, capacity, width)
    values: Tensor

    def __init__(self, rows: Rows, like: Any) -> None:
        super().__init__()
        self.rows: Rows = weakref.proxy(rows)  # a circle would hold the memory until Python looks
        self.is_initialized = True
        for name, read in (("keys", like.keys), ("values", like.values)):
            setattr(self, name, read.new_zeros(0, read.shape[1], 0, read.shape[3]))

    @property
    def most(self) -> int:
        return self.keys.shape[0]

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def move(self, rows: int, used: slice, end: int) -> None:
        """Move what is used so that it ends at ``end``, into other tensors where there is no room."""
        start = end - (used.stop - used.start)
        fits = self.rows.most <= self.most and end + _ROOM // 2 < self.capacity
        size = max(end, min(end + end // 2, self.rows.longest)) + _ROOM
        for name in ("keys", "values"):
            old = getattr(self, name)
            moved = old[:rows, :, used].clone()
            if not fits:
                old = old.new_zeros(self.rows.most, old.shape[1], size, old.shape[3])
            old[:rows, :, start:end] = moved
            setattr(self, name, old)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        rows, end = len(self.rows), self.rows.end
        self.keys[:rows, :, end] = key_states[:, :, 0]
        self.values[:rows, :, end] = value_states[:, :, 0]
        seen = slice(self.rows.first, end + 1)
        return self.keys[:rows, :, seen], self.values[:rows, :, seen]

    def get_seq_length(self) -> int:
        return self.rows.end - self.rows.first

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0
