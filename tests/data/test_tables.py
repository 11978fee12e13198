"""Directories are read in ranges of ids: what is read does not depend on them, and memory does not grow."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part import sorting
from espnet_part.data import tables
from espnet_part.data.datadir import DataDir, Example, ExampleReader
from tests.memory import peak_memory

IDS = ["a", "b", "c", "d", "é", "\U0001d400", "r1"]
VALUES = {
    "utt2task": ["asr", "t2tt", ""],
    "utt2lang": ["de", "eng", "de de"],
    "utt2tgt": ["de", "en", ""],
    "text": ["x", "", "\x07x", "\u3000"],
    "src_text": ["y", ""],
    "wav.scp": ["a.wav", "cat |", ""],
    "segments": ["r1 0 1", "r2 1 2", "r1 2 1", "r1", "a  0\t1", ""],
    "utt2num_samples": ["16000", "-1", ""],
    "utt2spk": ["s", "s t"],
    "feats.scp": ["f.ark:1", ""],
}
JUNK = [b"", b"\xff\xfe x", b"c \xff", b"a\xc2\xa0 x", b"\t", b"\xef\xbb\xbfb x", b"zz 1", b"b\r"]
SOUND = {name: [f"{utt} {values[0]}" for utt in IDS] for name, values in VALUES.items()}
OPTIONAL = ("src_text", "segments", "feats.scp")


def _lines(name: str) -> st.SearchStrategy[list[bytes]]:
    good = st.builds("{} {}".format, st.sampled_from(IDS), st.sampled_from(VALUES[name]))
    return st.lists(st.one_of(good.map(str.encode), st.sampled_from(JUNK)), max_size=4)


def _damage(name: str) -> st.SearchStrategy[tuple[str, list[bytes]]]:
    whole = [line.encode() for line in SOUND[name]]
    new = _lines(name)
    return st.tuples(
        st.just(name),
        st.one_of(
            new, new.map(lambda lines: whole + lines), new.map(lambda ls: sorted(whole + ls))
        ),
    )


@settings(deadline=None, max_examples=150)
@given(
    segmented=st.booleans(),
    damage=st.lists(st.sampled_from(sorted(VALUES)).flatmap(_damage), max_size=3),
    size=st.integers(1, 4),
    nj=st.integers(1, 3),
    need_text=st.booleans(),
)
def test_ranges_and_jobs_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    segmented: bool,
    damage: list[tuple[str, list[bytes]]],
    size: int,
    nj: int,
    need_text: bool,
) -> None:
    path = tmp_path_factory.mktemp("data", numbered=True)
    for name, lines in SOUND.items():
        if name not in OPTIONAL or (segmented and name == "segments"):
            (path / name).write_text("\n".join(lines))
    for name, content in damage:
        (path / name).write_bytes(b"\n".join(content))
    whole = DataDir.load(path, need_text=need_text)
    with mock.patch.object(tables, "RANGE", size), mock.patch.object(sorting, "CHUNK", 2):
        assert DataDir.load(path, need_text=need_text) == whole
        readers = [ExampleReader(path, None, need_text, job=job + 1, nj=nj) for job in range(nj)]
        examples = [example for reader in readers for part in reader for example in part]
    assert examples == whole[0]
    named = {fault for reader in readers for fault in reader.faults}
    assert named == set(whole[1])


def test_memory_holds_a_range(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        with peak_memory() as peak:
            assert sum(map(len, ExampleReader(tmp_path / str(count)))) == count
            return peak()

    for count in (400, 4000):
        examples = [
            Example(f"u{n:05d}", "asr", "de", "de", "ein satz", audio=f"{n}.wav")
            for n in range(count)
        ]
        DataDir.write(tmp_path / str(count), examples)
    with mock.patch.object(tables, "RANGE", 100):
        assert peak(4000) < 2 * peak(400)
