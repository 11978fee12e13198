"""The examples of an analysis: groups by task and language, and batches drawn from them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from espnet_part.data.datadir import Example
from espnet_part.errors import DataError
from espnet_part.tasks import pair_label


def group_of(example: Example) -> str:
    """What a group is called: "asr de", "s2tt de-en"."""
    return f"{example.task} {pair_label(example.lang, example.tgt)}"


def draw_batches(
    examples: Sequence[Example], batches: int, batch_size: int, seed: int
) -> list[tuple[str, list[Example]]]:
    """Batches of each group, no example twice; groups in the order of their names.

    Args:
        batches: of each group. batch_size: examples of each batch.
        seed: of the choice, which is the same for every model.

    Returns:
        (group, its examples), a pair a batch.

    Raises:
        DataError: a group has too few examples for two batches.
    """
    by_group: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_group[group_of(example)].append(example)
    drawn = []
    for group in sorted(by_group):
        members = sorted(by_group[group], key=lambda example: example.utt_id)
        if len(members) < 2 * batch_size:
            raise DataError(
                f"{group}: {len(members)} examples make fewer than two batches of {batch_size}; take "
                "smaller batches (--batch_size), or leave the group out (--groups)"
            )
        random.Random(f"{seed} {group}").shuffle(members)
        for start in range(0, min(batches, len(members) // batch_size) * batch_size, batch_size):
            drawn.append((group, members[start : start + batch_size]))
    return drawn
