"""Batches of an analysis: none shares an example, and every model gets the same."""

from __future__ import annotations

import random

import pytest

from espnet_part.analysis.groups import draw_batches, group_of
from espnet_part.data.datadir import Example
from espnet_part.errors import DataError


def made(count: int, task: str = "asr", lang: str = "de", tgt: str = "de") -> list[Example]:
    return [Example(f"{task}-{lang}-{n:03}", task, lang, tgt, "x", audio="") for n in range(count)]


def test_a_group_is_a_task_and_its_languages() -> None:
    assert group_of(made(1)[0]) == "asr de"
    assert group_of(made(1, "s2tt", "de", "en")[0]) == "s2tt de-en"


def test_no_example_is_drawn_twice_and_the_order_of_the_data_says_nothing() -> None:
    data = [*made(17), *made(9, "s2tt", "de", "en")]
    drawn = draw_batches(data, 3, 4, seed=1)
    assert [group for group, _ in drawn] == ["asr de"] * 3 + ["s2tt de-en"] * 2
    assert all(len(batch) == 4 for _, batch in drawn)
    assert all(group_of(example) == group for group, batch in drawn for example in batch)
    ids = [example.utt_id for _, batch in drawn for example in batch]
    assert len(set(ids)) == len(ids)
    shuffled = random.Random(5).sample(data, len(data))
    assert draw_batches(shuffled, 3, 4, seed=1) == drawn
    assert draw_batches(data, 3, 4, seed=2) != drawn
    # a group's batches are its own: another group beside it changes nothing
    assert draw_batches(made(17), 3, 4, seed=1) == drawn[:3]


def test_too_few_examples_are_named() -> None:
    assert len(draw_batches(made(8), 9, 4, seed=0)) == 2
    with pytest.raises(
        DataError, match=r"asr de: 7 examples make fewer than two batches of 4.*--groups"
    ):
        draw_batches(made(7), 9, 4, seed=0)
