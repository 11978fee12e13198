"""The streaming writer of data directories, against `DataDir.write`."""

from __future__ import annotations

import json
import random
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_part import sorting
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.writer import DirectoryWriter
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import DataError

WORD = st.text(string.ascii_letters + string.digits + "-_.äß中𝄞!~", min_size=1, max_size=8)
TEXT = st.text("ab \"'中ü|\\", max_size=10)


@st.composite
def examples(draw) -> list[Example]:
    found = []
    for utt in draw(st.lists(WORD, unique=True, max_size=25)):
        lang, tgt = draw(st.sampled_from([("de", "de"), ("de", "en"), ("yue", "yue")]))
        # a clip of its own, or a piece of one of a few recordings
        audio = draw(st.sampled_from([None, f"/clips/{utt}.mp3", "/long/b 1.opus", "/long/a.opus"]))
        cut = audio is not None and audio.startswith("/long")
        start = draw(st.floats(0, 100))
        found.append(
            Example(
                utt,
                draw(st.sampled_from(["asr", "s2tt", "t2tt"])),
                lang,
                tgt,
                draw(TEXT),
                draw(st.none() | TEXT),
                audio,
                (start, start + draw(st.floats(0.1, 9))) if cut else None,
                draw(st.none() | st.integers(1, 10**9)),
                draw(st.none() | WORD),
                draw(st.none() | st.just("/x/feats.ark:12")),
            )
        )
    return found


def content(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(examples=examples(), chunk=st.sampled_from([1, 2, 7, 1000]), seed=st.integers(0, 9))
def test_equal_to_data_dir_write(tmp_path, monkeypatch, examples, chunk, seed):
    monkeypatch.setattr(sorting, "CHUNK", chunk)
    expected, written = tmp_path / "expected", tmp_path / "written"
    DataDir.write(expected, examples)
    random.Random(seed).shuffle(examples)
    with DirectoryWriter(written) as writer:
        for example in examples:
            writer.add(example)
    assert content(written) == content(expected)
    for path in expected.iterdir():  # a table that this run does not need goes
        path.unlink()


def write(path, *examples: Example) -> None:
    with DirectoryWriter(path) as writer:
        for example in examples:
            writer.add(example)


def asr(utt: str, text: str = "x", **more: object) -> Example:
    return Example(utt, "asr", "de", "de", text, audio=f"/clips/{utt}.mp3", **more)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_of_one_id_the_first_stays_and_the_ledger_knows(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(sorting, "CHUNK", chunk)
    ledger = Ledger("Corpus", "r1", "CC0-1.0", {("train", "de", "asr"): 5})
    with DirectoryWriter(tmp_path / "train", ledger) as writer:
        for utt, text in (("b", "1"), ("a", "2"), ("b", "3"), ("b", "4")):
            ledger.read("train", "de", "asr")
            writer.add(asr(utt, text))
    assert (tmp_path / "train/text").read_text() == "a 2\nb 1\n"
    assert (tmp_path / "train/dropped.tsv").read_text().splitlines() == [
        "split\tlang\ttask\titem\treason\tdetail",
        "train\tde\tasr\tb\tduplicate id\t",
        "train\tde\tasr\tb\tduplicate id\t",
    ]
    assert json.loads((tmp_path / "train/corpus.json").read_text()) == [
        {
            "corpus": "Corpus",
            "release": "r1",
            "split": "train",
            "languages": {
                "de": {
                    "asr": {
                        "official": 5,
                        "read": 4,
                        "kept": 2,
                        "dropped": {"duplicate id": 2},
                        "cleaned": {},
                    }
                }
            },
            "license": "CC0-1.0",
            "notes": [],
        }
    ]


def test_an_id_given_twice_is_an_error_without_a_ledger(tmp_path):
    with pytest.raises(DataError, match="the id a is given twice"):
        write(tmp_path / "train", asr("a"), asr("a"))
    assert list(tmp_path.iterdir()) == []


def test_recordings_may_have_names(tmp_path):
    with DirectoryWriter(tmp_path / "train") as writer:
        for utt, name, audio in (("u1", "Y2", "/b.opus"), ("u2", "Y1", "/a.opus")):
            example = Example(utt, "asr", "zh", "zh", "x", audio=audio, segment=(1.0, 2.5))
            writer.add(example, name)
        writer.add(Example("Y15", "asr", "zh", "zh", "x", audio="/whole.wav"))
    assert (tmp_path / "train/wav.scp").read_text() == ("Y1 /a.opus\nY15 /whole.wav\nY2 /b.opus\n")
    assert (tmp_path / "train/segments").read_text() == (
        "u1 Y2 1.000000 2.500000\nu2 Y1 1.000000 2.500000\n"
    )


def test_two_recordings_of_one_name_are_refused(tmp_path):
    with (
        pytest.raises(DataError, match="name is taken"),
        DirectoryWriter(tmp_path / "train") as writer,
    ):
        for number in (1, 2):
            piece = Example(
                f"u{number}", "asr", "zh", "zh", "x", audio=f"/{number}.opus", segment=(0, 1)
            )
            writer.add(piece, "same")


def test_what_fails_leaves_the_old_directory_as_it_was(tmp_path):
    with DirectoryWriter(tmp_path / "train") as writer:
        writer.add(asr("old"))
    before = content(tmp_path / "train")
    with (
        pytest.raises(ZeroDivisionError),
        DirectoryWriter(tmp_path / "train", Ledger("C")) as writer,
    ):
        writer.add(asr("new"))
        raise ZeroDivisionError
    assert content(tmp_path / "train") == before
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_new_run_replaces_all_of_the_old_one(tmp_path):
    with DirectoryWriter(tmp_path / "train") as writer:
        writer.add(asr("a", spk="s"))
    with DirectoryWriter(tmp_path / "train") as writer:
        writer.add(asr("b"))
    assert sorted(content(tmp_path / "train")) == [
        "text",
        "utt2lang",
        "utt2task",
        "utt2tgt",
        "wav.scp",
    ]


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    with pytest.raises(DataError, match="no data directory"):
        DirectoryWriter(tmp_path / "photos").__enter__()
    assert (tmp_path / "photos/a.jpg").exists()


@pytest.mark.parametrize("path", ["", ".", "/", ".."])
def test_a_directory_without_a_name_is_refused(path):
    with pytest.raises(DataError, match="no place for a data directory"):
        DirectoryWriter(path)


@pytest.mark.parametrize("text", ["two\nlines", "a\ttab", "a\u2028b", "\x00"])
def test_what_would_not_survive_in_a_line_is_refused(tmp_path, text):
    for example in (asr("a", text), asr("a b")):
        with pytest.raises(DataError, match="cannot be written"):
            write(tmp_path / "train", example)
