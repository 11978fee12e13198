"""Speech embeddings put between token embeddings.

A row of the batch, before and after (t: token, s: speech, .: padding; the clip's position is 2)::

    t0 t1 t2 t3 .  .        t0 t1 s0 s1 s2 t2 t3 .
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from espnet_part.model.masking import valid_mask

#: No loss at positions with this label (torch's and transformers' convention).
IGNORE = -100


@dataclass(frozen=True)
class Spliced:
    """What the LLM reads: right-padded rows.

    Attributes:
        embeddings: (B, T, D), zero at padding.
        mask: (B, T) boolean, true at tokens and speech.
        positions: (B, T) position ids.
        labels: (B, T), -100 at speech and padding.
        lengths: (B,).
    """

    embeddings: Tensor
    mask: Tensor
    positions: Tensor
    labels: Tensor
    lengths: Tensor


def splice(
    tokens: Tensor,
    token_lengths: Tensor,
    labels: Tensor,
    speech: Tensor | None = None,
    speech_lengths: Tensor | None = None,
    row: Tensor | None = None,
    position: Tensor | None = None,
) -> Spliced:
    """Insert clips into rows of tokens. Nothing is written in place, so autograd sees it all.

    Args:
        tokens: (B, L, D) token embeddings. token_lengths: (B,). labels: (B, L).
        speech: (S, F, D) embeddings of the clips; None for no clip. speech_lengths: (S,).
        row: (S,) the row that a clip belongs to; a row may have several clips.
        position: (S,) index of the token before which a clip is inserted; the row's length puts it
            at the end. Clips at the same position keep their order.

    Raises:
        ValueError: a position outside its row.
    """
    batch, longest = labels.shape
    device = labels.device
    if speech is None or speech_lengths is None or row is None or position is None:
        speech = tokens.new_zeros(0, 0, tokens.shape[2])
        speech_lengths = row = position = token_lengths.new_zeros(0)
    if bool(((position < 0) | (position > token_lengths[row])).any()):
        raise ValueError("a clip's position is outside its row of tokens")

    # where each token goes: shifted by the clips before it
    inserted = speech_lengths.new_zeros(batch, longest + 1)
    inserted = inserted.index_put((row, position), speech_lengths, accumulate=True)
    token_place = torch.arange(longest, device=device) + inserted.cumsum(1)[:, :longest]
    lengths = token_lengths + inserted.sum(1)
    total = int(lengths.max())

    # where each clip goes: behind the tokens before it and the row's earlier clips
    clip = torch.arange(len(row), device=device)
    earlier = (row[:, None] == row) & (
        (position < position[:, None]) | ((position == position[:, None]) & (clip < clip[:, None]))
    )
    start = position + (earlier * speech_lengths).sum(1)
    frame = torch.arange(speech.shape[1], device=device)
    frame_place = start[:, None] + frame

    # From places to sources: index[b, t] is a row of `sources`. Padding goes to a column beyond the
    # end, which is cut off.
    sources = torch.cat([tokens.flatten(0, 1), speech.flatten(0, 1)])
    token_valid = valid_mask(token_lengths, longest)
    frame_valid = valid_mask(speech_lengths, speech.shape[1])
    token_place = torch.where(token_valid, token_place, total)
    frame_place = torch.where(frame_valid, frame_place, total)
    first = torch.arange(batch, device=device)[:, None] * (total + 1)
    places = torch.cat([(first + token_place).flatten(), (first[row] + frame_place).flatten()])
    index = torch.zeros(batch * (total + 1), dtype=torch.long, device=device)
    index = index.scatter(0, places, torch.arange(len(sources), device=device))
    index = index.view(batch, total + 1)[:, :total]
    mask = valid_mask(lengths, total)
    embeddings = sources[index].masked_fill(~mask[..., None], 0.0)

    spliced_labels = labels.new_full((batch, total + 1), IGNORE)
    spliced_labels = spliced_labels.scatter(1, token_place, labels)[:, :total]
    positions = torch.arange(total, device=device).expand(batch, -1)
    return Spliced(embeddings, mask, positions, spliced_labels, lengths)
