from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import Example
from espnet_part.data.dataset import POOL_STEPS, BatchConfig, Corpus, DataPosition, PhaseData
from espnet_part.data.examples import ExampleList
from espnet_part.data.heard import Heard
from espnet_part.data.prompts import Prompts
from espnet_part.data.shards import number_shards, shard_order
from espnet_part.data.stage_data import LoaderConfig, StageData
from tests.data.conftest import tone
from tests.data.sources.make import encode, write_tar
from tests.data.test_dataset import speech_lengths


def test_a_shard_is_the_file_that_audio_is_in() -> None:
    entries = [
        "a.tar:512:7",
        "a.tar:9:1",
        None,
        "b.tar:512:7",
        "a.ark:5",
        "x/a.tar:512:7",
        "a.flac",
    ]
    expected = [0, 0, -1, 1, 2, 3, 4]
    assert number_shards([pa.array(entries)]).tolist() == expected
    blocks = [pa.array(entries[:2]), pa.array([], pa.string()), pa.array(entries[2:])]
    assert number_shards(blocks).tolist() == expected  # whatever the blocks
    assert number_shards([pa.array([None, None], pa.string())]).tolist() == [-1, -1]
    assert number_shards([]).tolist() == []


@pytest.mark.parametrize("count", [3, 126, 127, 32766, 32767])
def test_numbers_of_shards_are_small_and_have_room(count: int) -> None:
    entries = [None, *(f"{n}.tar:512:7" for n in range(count))]
    numbers = number_shards([pa.array(entries)])
    assert numbers.tolist() == list(range(-1, count))
    assert numbers.itemsize == (1 if count < 127 else 2 if count < 32767 else 4)
    order = shard_order(np.arange(count + 1), np.random.default_rng(0), numbers, 1)
    assert sorted(order) == list(range(count + 1))


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    window=st.integers(1, 15),
    seed=st.integers(0, 2**31),
)
def test_a_window_holds_all_of_its_shards_and_no_others(
    sizes: list[int], window: int, seed: int
) -> None:
    shards = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(shards)
    members = np.flatnonzero(np.random.default_rng(1).random(len(shards)) < 0.9)
    order = shard_order(members, np.random.default_rng(seed), shards, window)
    assert sorted(order) == members.tolist()
    left = Counter(shards[members].tolist())
    heard = shards[order].tolist()
    while heard:  # the window ends where all of its shards have ended
        names: set[int] = set()
        count = 0
        while len(names) < min(window, len(left)) or count < sum(left[name] for name in names):
            names.add(heard[count])
            count += 1
        assert len(names) <= window
        heard = heard[count:]
        for name in names:
            del left[name]


def test_orders_are_random_within_a_window_and_of_shards() -> None:
    shards = np.repeat(np.arange(8), 2)
    orders = [shard_order(np.arange(16), np.random.default_rng(n), shards, 2) for n in range(2000)]
    first = Counter(int(order[0]) for order in orders)
    assert len(first) == 16 and max(first.values()) < 2 * min(first.values())
    pairs = Counter(frozenset(shards[order[:4]].tolist()) for order in orders)
    assert len(pairs) == 28 and max(pairs.values()) < 3 * min(pairs.values())


def make(sizes: dict[str, int], shard_size: int) -> ExampleList:
    """Speech of some languages, in shards that hold several of them."""
    names = [f"{lang}{n:03}" for lang, size in sizes.items() for n in range(size)]
    places = np.random.default_rng(0).permutation(len(names))
    return ExampleList(
        [
            Example(
                *(name, "asr", name[:2], name[:2], "x"),
                audio=f"{place // shard_size}.tar:{512 + 9 * place}:9",
                num_samples=8000 + 100 * (place % 50),
            )
            for name, place in zip(names, places.tolist(), strict=True)
        ]
    )


@pytest.fixture(scope="module")
def corpus(tokenizer: object) -> Corpus:
    examples = make({"de": 3000, "es": 1000}, 100)
    prompts = Prompts.load("conf/prompts.yaml")
    return Corpus(examples, prompts, ChatFormat(tokenizer), speech_lengths)


def steps(data: PhaseData, heard: Heard, start: DataPosition, count: int) -> list[list[int]]:
    return [step.tolist() for *_, step in data.steps(heard, start, count)]


@pytest.mark.parametrize("tasks", [None, {"asr": 1.0}])
def test_every_example_comes_once_a_pass_and_pools_read_few_shards(
    corpus: Corpus, tasks: dict[str, float] | None
) -> None:
    heard = Heard.nothing(4000)
    batch = BatchConfig(size=2)
    windowed = PhaseData(corpus, tasks, batch, seed=1, shuffle_window=3)
    free = PhaseData(corpus, tasks, batch, seed=1)
    assert len(corpus.examples.strata) == 2 and windowed.pools == 31 == free.pools
    shards = corpus.examples.shards
    most = {}
    for data in (windowed, free):
        count = data.steps_in_epochs(heard, 2)
        found = steps(data, heard, DataPosition(), count)
        assert sorted(itertools.chain(*found[: count // 2])) == list(range(4000))
        assert sorted(itertools.chain(*found)) == sorted([*range(4000)] * 2)
        assert found[: count // 2] != found[count // 2 :]
        pools = [found[n : n + POOL_STEPS] for n in range(0, count, POOL_STEPS)]
        most[data] = max(len({int(shards[n]) for step in pool for n in step}) for pool in pools)
    # of its 129 examples each language's are in two windows at most, which hold 225 or 75 of them
    assert most[windowed] <= 2 * 2 * 3 < 35 <= most[free]


def test_steps_depend_on_no_process_and_go_on_where_they_stopped(corpus: Corpus) -> None:
    def phase(**options: int) -> PhaseData:
        return PhaseData(corpus, None, BatchConfig(size=8), seed=1, shuffle_window=2, **options)

    heard = Heard.nothing(4000)
    whole = list(phase().steps(heard, DataPosition(), 60))
    for rank in range(3):
        again = list(phase(world=3, rank=rank).steps(heard, DataPosition(), 60))
        assert [s.tolist() for *_, s in again] == [s.tolist() for *_, s in whole]
    for done in (1, 17, 59):
        rest = steps(phase(), heard, whole[done - 1][0], 60 - done)
        assert rest == [s.tolist() for *_, s in whole[done:]]
    position = whole[-1][0]
    after = phase().heard_after(heard, position)
    times = Counter(itertools.chain(*(s.tolist() for *_, s in whole)))
    assert {n for n in range(4000) if after.ahead[n]} == {n for n in times if times[n]}
    # what was heard less often comes first in the next phase, in windows of its own
    left = 4000 - int(after.ahead.sum())
    next_steps = steps(phase(), after, DataPosition(after.pools), left // 8)
    assert sum(after.ahead[n] for step in next_steps for n in step) < 64


def test_a_checkpoint_knows_in_which_order_it_stands(corpus: Corpus) -> None:
    def digests(examples: ExampleList, window: int) -> dict[str, str]:
        loader = LoaderConfig(BatchConfig(size=2), shuffle_window=window)
        return StageData(examples, corpus.prompts, corpus.chat, loader).digests()

    examples = make({"de": 40}, 4)
    moved = ExampleList([dataclasses.replace(e, audio=f"/new/{e.audio}") for e in examples])
    packed = make({"de": 40}, 5)
    assert digests(examples, 0) == digests(packed, 0)
    assert digests(examples, 2) == digests(moved, 2)
    different = [
        digests(examples, 0),
        digests(examples, 1),
        digests(examples, 2),
        digests(packed, 2),
    ]
    assert len({d["seed"] for d in different}) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_read_tar_shards(tmp_path: Path, corpus: Corpus, num_workers: int) -> None:
    waves = {f"{n:02}": tone(0.1 + n / 100, seed=n) for n in range(12)}
    examples = []
    for number in range(3):
        names = [name for name in waves if int(name) % 3 == number]
        entries = write_tar(tmp_path / f"{number}.tar", [(n, encode(waves[n])) for n in names])
        examples += [
            Example(
                *(name, "asr", "de", "de", "x"),
                audio=entries[name],
                num_samples=len(waves[name]),
            )
            for name in names
        ]
    own = Corpus(ExampleList(examples), corpus.prompts, corpus.chat, speech_lengths)
    data = PhaseData(own, None, BatchConfig(size=3), num_workers=num_workers, shuffle_window=1)
    read = {}
    for _, batches in data.loader(Heard.nothing(12), DataPosition(), 4):
        for batch in batches:
            assert batch["bad"] == []
            for row, utt in enumerate(batch["utt_ids"]):
                read[utt] = batch["speech"][row, : batch["speech_lengths"][row]]
    assert read.keys() == waves.keys()
    for utt, wave in waves.items():
        torch.testing.assert_close(read[utt], torch.from_numpy(wave), atol=2**-15, rtol=0)


def test_a_window_may_be_wider_than_any_number_of_shards() -> None:
    shards = np.arange(5, dtype=np.int32)
    order = shard_order(np.arange(5), np.random.default_rng(0), shards, 10**30)
    assert sorted(order) == [0, 1, 2, 3, 4]
