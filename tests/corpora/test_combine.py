"""Combined directories against the examples of their parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_part.corpora.combine import combine, main
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.writer import DirectoryWriter
from espnet_part.data.datadir import DataDir, Example
from espnet_part.errors import DataError


def speech(utt: str, task: str = "asr", lang: str = "de", tgt: str = "de", **more) -> Example:
    return Example(utt, task, lang, tgt, f"text of {utt}", audio=f"/audio/{utt}.wav", **more)


def text(utt: str) -> Example:
    return Example(utt, "t2tt", "de", "en", "Hello.", src_text="Hallo.")


def segment(utt: str, audio: str, start: float) -> Example:
    return Example(utt, "asr", "zh", "zh", "好", audio=audio, segment=(start, start + 1))


def write(path: Path, examples: list[Example], corpus: str = "A") -> Path:
    ledger = Ledger(corpus, release="1")
    with DirectoryWriter(path, ledger) as writer:
        for example in examples:
            ledger.read(path.name, example.lang, example.task)
            name = Path(example.audio).stem if example.audio and example.segment else None
            writer.add(example, recording=name)
        ledger.read(path.name, "de", "asr")
        ledger.drop(path.name, "de", f"{corpus}.mp3", "missing clip")
    return path


def test_holds_the_examples_of_all(tmp_path: Path) -> None:
    one = [speech("a_2"), speech("c_1", spk="anna", num_samples=16000), text("a_3")]
    two = [segment("b_1", "/long.opus", 0), segment("b_2", "/long.opus", 2), speech("z_1")]
    sources = [write(tmp_path / "one", one, "A"), write(tmp_path / "two", two, "B")]
    combined = combine(sources, tmp_path / "all")
    assert combined.given == combined.kept == [3, 3]
    examples, faults = DataDir.load(tmp_path / "all")
    assert not faults
    assert sorted(examples, key=lambda e: e.utt_id) == sorted(one + two, key=lambda e: e.utt_id)
    for table in (tmp_path / "all").iterdir():
        if table.suffix not in (".json", ".md", ".tsv"):
            lines = table.read_bytes().splitlines()
            assert lines == sorted(lines, key=lambda line: line.split(b" ")[0])
    corpora = json.loads((tmp_path / "all/corpus.json").read_text())
    assert [entry["corpus"] for entry in corpora] == ["A", "B"]
    dropped = (tmp_path / "all/dropped.tsv").read_text().splitlines()
    assert dropped[0].startswith("split\t")
    assert [line.split("\t")[3] for line in dropped[1:]] == ["A.mp3", "B.mp3"]
    page = (tmp_path / "all/corpus.md").read_text()
    assert page.count("| split |") == page.count("| split") == 2


IDS = st.text("abZ_-0é", min_size=1, max_size=5)


@given(st.lists(st.sets(IDS, max_size=8), min_size=1, max_size=4))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_equals_what_is_written_at_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[set[str]]
) -> None:
    root = tmp_path_factory.mktemp("combine")
    sources = []
    for number, ids in enumerate(parts):
        examples = [speech(f"{utt}{number}") if len(utt) % 2 else text(utt + "t") for utt in ids]
        examples = [e for e in examples if e.audio or number == 0]
        sources.append(root / str(number))
        with DirectoryWriter(sources[-1]) as writer:
            for example in examples:
                writer.add(example)
    combine(sources, root / "merged")
    everything = [e for source in sources for e in DataDir.load(source, need_text=False)[0]]
    DataDir.write(root / "written", everything)
    names = {path.name for path in (root / "written").iterdir()}
    assert {path.name for path in (root / "merged").iterdir()} == names
    for name in names:
        assert (root / "merged" / name).read_bytes() == (root / "written" / name).read_bytes()


def test_an_id_in_two_directories_is_named(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [speech(f"a_{n}") for n in range(6)])
    two = write(tmp_path / "two", [speech(f"a_{n}") for n in range(1, 6)])
    (tmp_path / "all").mkdir()
    with pytest.raises(DataError) as error:
        combine([one, two], tmp_path / "all")
    assert f"5 ids are in two directories: a_1 ({one} and {two})" in str(error.value)
    assert "and 2 more" in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "one", "two"]


def test_a_recording_may_serve_two_directories(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [segment("a_1", "/long.opus", 0)])
    two = write(tmp_path / "two", [segment("a_2", "/long.opus", 3)])
    combine([one, two], tmp_path / "all")
    assert (tmp_path / "all/wav.scp").read_text() == "long /long.opus\n"
    other = write(tmp_path / "other", [segment("a_3", "/elsewhere/long.opus", 3)])
    with pytest.raises(DataError, match=r"long is one file in .*one and another in .*other"):
        combine([one, other], tmp_path / "all")
    # what was there is still there
    assert (tmp_path / "all/segments").read_text().count("\n") == 2


def test_tables_that_are_not_sorted(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [speech("a_1"), speech("a_2")])
    table = one / "text"
    table.write_text("".join(reversed(table.read_text().splitlines(keepends=True))))
    with pytest.raises(DataError, match=r"text:2: a_1 comes after a_2.*LC_ALL=C sort"):
        combine([one], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_a_part_of_each_task_and_language(tmp_path: Path) -> None:
    many = [speech(f"a_{n:03d}") for n in range(50)]
    many += [speech(f"b_{n:03d}", "s2tt", "de", "en") for n in range(3)]
    many += [segment(f"c_{n:03d}", f"/long{n % 2}.opus", n) for n in range(20)]
    one = write(tmp_path / "one", many)
    two = write(tmp_path / "two", [speech(f"d_{n:03d}") for n in range(20)])
    combined = combine([one, two], tmp_path / "some", max_examples=5)
    assert (combined.given, combined.kept) == ([73, 20], [13, 5])
    examples, faults = DataDir.load(tmp_path / "some")
    assert not faults
    assert set(examples) <= {*many, *DataDir.load(two)[0]}
    count = [sum(e.utt_id.startswith(prefix) for e in examples) for prefix in "abcd"]
    assert count == [5, 3, 5, 5]
    # drawn, not taken from the beginning
    assert [e for e in examples if e.utt_id.startswith("a_")] != many[:5]
    note = json.loads((tmp_path / "some/corpus.json").read_text())[0]["notes"][-1]
    assert note.startswith("13 of 73 examples of")
    again = combine([one, two], tmp_path / "again", max_examples=5)
    assert again == combined
    assert (tmp_path / "again/text").read_bytes() == (tmp_path / "some/text").read_bytes()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one", [speech("a_1"), speech("a_2")])
    main(["--out", str(tmp_path / "all"), str(one)])
    assert "2 of 2 examples" in capsys.readouterr().out
    main(["--out", str(tmp_path / "all"), "--max_examples", "1", str(one)])  # replaces it
    assert (tmp_path / "all/utt2task").read_text().count("\n") == 1
    for wrong in ([str(tmp_path)], [str(tmp_path / "all")], [str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as stopped:
            main(["--out", str(tmp_path / "all"), *wrong])
        assert stopped.value.code == 1


def test_does_not_replace_what_is_no_data_directory(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [speech("a_1")])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("…")
    with pytest.raises(DataError, match="holds something that is no data directory"):
        combine([one], tmp_path / "thesis")
    assert (tmp_path / "thesis/chapter1.tex").exists()
