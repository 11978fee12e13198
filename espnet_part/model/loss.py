"""Cross entropy of the labelled positions alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from espnet_part.model.splice import IGNORE

#: Positions whose scores are held at once: 1024 x 152 k words in float32 take 0.6 GB.
CHUNK = 1024


def labelled_loss(
    hidden: Tensor, labels: Tensor, logits: Callable[[Tensor], Tensor], chunk: int = CHUNK
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Summed next-token cross entropy; the head runs only where there is a label.

    Args:
        hidden: (B, T, D) states; the one at t predicts the label at t + 1.
        labels: (B, T), -100 where there is no loss.
        logits: the head, (N, D) -> (N, vocabulary).
        chunk: beyond so many labels, the scores are computed in parts and again in the backward
            pass, so that memory does not grow with their number.

    Returns:
        The loss, a float32 scalar with a graph (also when there is no label), and by row (B,),
        detached: loss, number of labels, number of labels that were the likeliest token.
    """
    targets = labels[:, 1:]
    selected = targets != IGNORE
    states, wanted = hidden[:, :-1][selected], targets[selected]
    rows = selected.nonzero()[:, 0]

    def part(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        scores = logits(states).float()
        return F.cross_entropy(scores, wanted, reduction="none"), scores.argmax(1) == wanted

    if len(wanted) <= chunk:
        losses, correct = part(states, wanted)
    else:
        parts = [
            checkpoint(part, *pair, use_reentrant=False)
            for pair in zip(states.split(chunk), wanted.split(chunk), strict=True)
        ]
        losses = torch.cat([p[0] for p in parts])
        correct = torch.cat([p[1] for p in parts])
    by_row = losses.new_zeros(labels.shape[0])
    return (
        losses.sum(),
        by_row.index_add(0, rows, losses.detach()),
        selected.sum(1),
        by_row.index_add(0, rows, correct.to(by_row.dtype)).long(),
    )
