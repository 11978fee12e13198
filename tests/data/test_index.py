"""The index of data directories: the same examples, columns and digests, from memory-mapped files."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data import examples as examples_module
from espnet_part.data import index as index_module
from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import DataDir, Example
from espnet_part.data.dataset import BatchConfig, Corpus, PhaseData
from espnet_part.data.examples import ExampleList, Examples
from espnet_part.data.index import ExampleTable, IndexWriter
from espnet_part.data.mixture_table import PhaseMixture
from espnet_part.data.prompts import Prompts
from espnet_part.data.shares import Limits
from espnet_part.data.tokens import count_tokens
from espnet_part.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
EXAMPLES = st.lists(
    st.builds(
        Example,
        utt_id=TEXT,
        task=st.sampled_from(["asr", "s2tt", "t2tt"]),
        lang=st.sampled_from(["de", "en", "yue"]),
        tgt=st.sampled_from(["de", "en"]),
        text=TEXT,
        src_text=st.none() | TEXT,
        audio=st.none() | TEXT,
        segment=st.none() | st.tuples(st.floats(0, 9), st.floats(0, 9)),
        num_samples=st.none() | st.integers(1, 1 << 30),
        spk=st.none() | TEXT,
        feats=st.none() | TEXT,
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module", params=[2, 10_000], autouse=True)
def block(request: pytest.FixtureRequest) -> Iterator[None]:
    """Examples are written and hashed in blocks; two of them make several of a test's."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (examples_module, index_module):
            patch.setattr(module, "BLOCK", request.param)
        yield


@given(examples=EXAMPLES)
@settings(max_examples=30, deadline=None)
def test_everything_comes_back(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    directory = tmp_path_factory.mktemp("index") / "index"
    prompt, answer = np.arange(len(examples)), np.arange(len(examples)) + 7
    with IndexWriter(directory, []) as index:
        for part in (slice(0, 2), slice(2, None)):
            index.add(examples[part], prompt[part], answer[part])
        index.bad = 3
    table, listed = ExampleTable(directory), ExampleList(examples)
    for found in (table, pickle.loads(pickle.dumps(table))):
        assert list(found) == examples and found[-1] == examples[-1] and found[:2] == examples[:2]
        assert found.samples.tolist() == listed.samples.tolist()
        assert found.has_feats.tolist() == listed.has_feats.tolist()
        assert found.shards.tolist() == listed.shards.tolist()
        assert list(found.strata) == list(listed.strata) and found.tasks == listed.tasks
        for stratum, members in listed.strata.items():
            assert found.strata[stratum].tolist() == members.tolist()
            assert found.ids_digest(stratum) == listed.ids_digest(stratum)
        assert found.digest == listed.digest and found.bad == 3
        assert found.token_counts is not None
        assert [c.tolist() for c in found.token_counts] == [prompt.tolist(), answer.tolist()]
    with pytest.raises(IndexError):
        table[len(examples)]


@pytest.fixture
def index(examples: list[Example], tmp_path: Path) -> Path:
    """The index of a data directory ``data`` beside it."""
    DataDir.write(tmp_path / "data", examples)
    loaded, _ = DataDir.load(tmp_path / "data")
    with IndexWriter(tmp_path / "index", [tmp_path / "data"]) as index:
        index.add(loaded, *np.ones((2, len(loaded)), dtype=int))
    return tmp_path / "index"


def test_it_is_of_these_directories_as_they_are(index: Path) -> None:
    data = index.parent / "data"
    table = ExampleTable(index)
    table.check([data])
    shutil.copytree(data, data.with_name("copy"))  # with other times
    (data.with_name("copy") / "text").touch()
    table.check([data.with_name("copy")])
    with pytest.raises(DataError, match="is of 1 data directories, not of 2"):
        table.check([data, data])
    for name in ("text", "utt2spk", "wav.scp"):
        copy = data.with_name(f"changed_{name}")
        shutil.copytree(data, copy)
        with (copy / name).open("a") as file:
            file.write("one more\n")
        with pytest.raises(DataError, match=rf"{name} has changed since; write the index anew"):
            table.check([copy])
    (data / "text").unlink()
    with pytest.raises(DataError, match="text has changed since"):
        table.check([data])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.arrow", None),
        ("numbers.arrow", None),
        ("index.json", None),
        ("index.json", b"{}"),
        ("index.json", b'{"version": 1, "sizes": {}, "strata": [[1, 2, 3]]}'),
        ("rows.arrow", b"short"),
        ("numbers.arrow", b"same size"),
    ],
)
def test_a_damaged_index_is_named(index: Path, name: str, content: bytes | None) -> None:
    path = index / name
    if content is None:
        path.unlink()
    elif content == b"same size":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="index"):
        ExampleTable(index)


@pytest.mark.parametrize("bit", range(0, 8 * 4096, 997))
def test_a_flipped_bit_of_what_steps_follow_from_is_found(index: Path, bit: int) -> None:
    path = index / "numbers.arrow"
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)
    with pytest.raises(DataError, match="index"):
        ExampleTable(index)


def test_a_table_that_changes_while_it_is_read_is_named(
    index: Path, examples: list[Example]
) -> None:
    data = index.parent / "data"
    with (
        pytest.raises(DataError, match=f"{data}/text: has changed while it was read"),
        IndexWriter(index, [data]) as writer,
    ):
        writer.add(examples, *np.ones((2, len(examples)), dtype=int))
        with (data / "text").open("a") as file:
            file.write("one more\n")
    assert len(ExampleTable(index)) == len(examples)  # the older one


def test_it_is_replaced_as_a_whole(index: Path, examples: list[Example]) -> None:
    reading = ExampleTable(index)
    first = reading[0]
    with IndexWriter(index, []) as writer:
        writer.add(examples[:2], *np.zeros((2, 2), dtype=int))
    assert len(ExampleTable(index)) == 2
    assert reading[0] == first and len(reading) == len(examples)  # who reads it goes on
    assert [path.name for path in index.parent.iterdir() if path.name.startswith(".")] == []


def test_numbers_beyond_its_range_are_refused(index: Path, examples: list[Example]) -> None:
    with (
        pytest.raises(DataError, match="an index holds at most"),
        IndexWriter(index, []) as writer,
    ):
        writer.add(examples[:1], np.array([1 << 31]), np.array([1]))
    assert len(ExampleTable(index)) == len(examples)


def test_what_is_to_be_heard_follows_from_an_index_as_from_a_list(
    examples: list[Example], tmp_path: Path, tokenizer: Any
) -> None:
    prompts, chat = Prompts.load("conf/prompts.yaml"), ChatFormat(tokenizer)
    with IndexWriter(tmp_path / "index", []) as index:
        index.add(examples, *count_tokens(examples, prompts, chat))

    def expected(kept: Examples) -> PhaseMixture:
        corpus = Corpus(kept, prompts, chat, lambda n: (n // 320 + 1, n // 640 + 1))
        limits = Limits({"asr/*": 9}, {"es": 0.4})
        options: dict[str, Any] = {"steps": 9, "limits": limits}
        return PhaseData(corpus, ["asr", "t2tt"], BatchConfig(bins=300), **options).expected("p")

    assert expected(ExampleTable(tmp_path / "index")) == expected(ExampleList(examples))
