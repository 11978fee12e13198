from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.data.datadir import DataDir, Example, Fault, check_share, report_faults
from espnet_part.data.language_codes import is_language, meant_language
from espnet_part.errors import DataError

TABLES = (
    "utt2task",
    "utt2lang",
    "utt2tgt",
    "text",
    "src_text",
    "wav.scp",
    "segments",
    "utt2spk",
    "utt2num_samples",
    "feats.scp",
)


def kinds(faults):
    return sorted({fault.kind for fault in faults})


def shuffle_lines(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    path.write_text("".join(lines))


def test_what_is_written_is_read_again(data_dir, examples):
    loaded, faults = DataDir.load(data_dir)
    assert not faults
    assert sorted(loaded, key=lambda e: e.utt_id) == sorted(examples, key=lambda e: e.utt_id)
    for table in data_dir.iterdir():
        lines = table.read_text().splitlines()
        assert lines == sorted(lines, key=lambda line: line.split(" ")[0])


def test_segments_beside_whole_files(tmp_path):
    examples = [
        Example("a", "asr", "de", "de", "x", audio="long.wav", segment=(0.5, 1.25), num_samples=9),
        Example("b", "asr", "de", "de", "y", audio="long.wav", segment=(3600.125, 3601.0)),
        Example("c", "s2tt", "de", "en", "z", audio="c d.wav", spk="s1", feats="f.ark:7"),
        Example("d", "t2tt", "yue", "zh", "z", src_text="佢哋"),
    ]
    DataDir.write(tmp_path, examples)
    assert DataDir.load(tmp_path) == (examples, [])


def test_rewriting_leaves_no_table_of_the_run_before(tmp_path):
    DataDir.write(tmp_path, [Example("a", "asr", "de", "de", "x", audio="a.wav", spk="s")])
    DataDir.write(tmp_path, [Example("a", "t2tt", "de", "en", "x", src_text="y")])
    assert not (tmp_path / "wav.scp").exists()
    assert not (tmp_path / "utt2spk").exists()


def test_unsorted_tables_are_fine(data_dir, examples):
    for table in data_dir.iterdir():
        shuffle_lines(table)
    loaded, faults = DataDir.load(data_dir)
    assert not faults
    assert {e.utt_id: e for e in loaded} == {e.utt_id: e for e in examples}


def test_tabs_and_windows_files(data_dir):
    lang = data_dir / "utt2lang"
    lang.write_text(lang.read_text().replace(" ", "\t"))
    assert not DataDir.load(data_dir)[1]
    lang.write_bytes(lang.read_bytes().replace(b"\n", b"\r\n"))
    assert not DataDir.load(data_dir)[1]


UTT = "es_000-s2tt-en"


@pytest.mark.parametrize(
    ("table", "line", "kind"),
    [
        ("text", UTT, "empty text"),
        ("text", f"{UTT} \u3000 ", "empty text"),
        ("text", f"{UTT} the\x07dog", "control character"),
        ("text", f"{UTT} the\u2028dog", "control character"),
        ("text", f"{UTT} the\ttab", "control character"),
        ("utt2task", f"{UTT} tts", "unknown task"),
        ("utt2lang", f"{UTT} xx", "unknown language"),
        ("utt2lang", f"{UTT} de_DE", "unknown language"),
        ("utt2lang", UTT, "wrong number of columns"),
        ("utt2lang", f"{UTT} es es", "wrong number of columns"),
        ("utt2num_samples", f"{UTT} -3", "wrong number of samples"),
        ("utt2num_samples", f"{UTT} 0", "wrong number of samples"),
        ("wav.scp", f"{UTT} sox a.wav -t wav - |", "command instead of a file"),
        ("wav.scp", UTT, "wrong number of columns"),
        ("wav.scp", "", "speech task without audio"),
        ("wav.scp", f"{UTT}\u00a0 a.wav", "odd space or control in the id"),
        ("utt2num_samples", f"{UTT} {'9' * 5000}", "wrong number of samples"),
        ("utt2num_samples", f"{UTT} {10**18}", "wrong number of samples"),
        ("utt2num_samples", f"{UTT} {1 << 31}", "wrong number of samples"),
        ("utt2lang", f"{UTT} eng", "unknown language"),
        ("utt2lang", f"{UTT} zh-CN", "unknown language"),
    ],
)
def test_faults_of_one_line(data_dir, examples, table, line, kind):
    path = data_dir / table
    lines = [old for old in path.read_text().split("\n") if not old.startswith(UTT)]
    path.write_text("\n".join([line, *lines]))
    loaded, faults = DataDir.load(data_dir)
    assert kind in kinds(faults)
    assert {e.utt_id for e in loaded} == {e.utt_id for e in examples} - {UTT}


def test_all_faults_at_once(data_dir, examples):
    """Each is named with its file and line, and nothing stops at the first."""
    text = (data_dir / "text").read_text().splitlines()
    text[0] += "\x00"
    text.append(text[1])  # duplicate
    text.append("nobody a text without utterance")
    (data_dir / "text").write_bytes("\n".join(text).encode() + b"\nwrong \xff\xfe")
    task = (data_dir / "utt2task").read_text()
    (data_dir / "utt2task").write_text(task + "lonely asr\nwrong asr\n")
    lang = (data_dir / "utt2lang").read_text()
    (data_dir / "utt2lang").write_text(lang + "lonely de\nwrong de\n")
    loaded, faults = DataDir.load(data_dir)
    assert kinds(faults) == [
        "control character",
        "duplicate id",
        "unmatched id",
        "wrong encoding",
    ]
    assert len(loaded) == len(examples) - 2
    report = report_faults(faults)
    assert "2 x unmatched id" in report
    assert f"{data_dir}/text:{len(text) - 1}: {text[1].split()[0]}: duplicate id" in report


def test_tasks_and_audio_must_fit(tmp_path):
    DataDir.write(
        tmp_path,
        [
            Example("a", "asr", "de", "de", "x"),
            Example("b", "t2tt", "de", "en", "x", src_text="y", audio="b.wav"),
            Example("c", "t2tt", "de", "en", "x"),
            Example("d", "asr", "de", "en", "x", audio="d.wav"),
        ],
    )
    loaded, faults = DataDir.load(tmp_path)
    assert not loaded
    assert kinds(faults) == [
        "languages that the task does not have",
        "speech task without audio",
        "text task with audio",
        "text task without source text",
    ]


def test_asr_needs_no_target_language_but_translation_does(data_dir):
    (data_dir / "utt2tgt").unlink()
    loaded, faults = DataDir.load(data_dir)
    assert {e.task for e in loaded} == {"asr"}
    assert all(e.tgt == e.lang for e in loaded)
    assert kinds(faults) == ["unmatched id"]


def test_wrong_segments(tmp_path):
    DataDir.write(tmp_path, [Example("a", "asr", "de", "de", "x", audio="a.wav", segment=(1, 2))])
    for line, kind in [
        ("a recording_0000001 2 1", "wrong segment"),
        ("a recording_0000001 nan 1", "wrong segment"),
        ("a recording_0000001 x 1", "wrong segment"),
        ("a recording_0000001 1", "wrong number of columns"),
        ("a \u2000", "wrong number of columns"),  # white space, but not Kaldi's
        ("a other 1 2", "unmatched id"),
        ("a empty 1 2", "unmatched id"),
    ]:
        (tmp_path / "segments").write_text(line + "\n", encoding="utf-8")
        (tmp_path / "wav.scp").write_text("empty\nrecording_0000001 a.wav\n")
        loaded, faults = DataDir.load(tmp_path)
        assert not loaded
        assert kind in kinds(faults), line


def test_missing_files_and_directory(data_dir, tmp_path):
    assert kinds(DataDir.load(tmp_path / "none")[1]) == ["missing directory"]
    (data_dir / "text").unlink()
    loaded, faults = DataDir.load(data_dir)
    assert kinds(faults) == ["missing file"] and not loaded
    loaded, faults = DataDir.load(data_dir, need_text=False)
    assert not faults and loaded[0].text == ""


def test_byte_order_mark(data_dir, examples):
    path = data_dir / "utt2task"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    loaded, faults = DataDir.load(data_dir)
    assert not faults and len(loaded) == len(examples)


def test_ids_are_unique_over_directories(tmp_path, examples):
    DataDir.write(tmp_path / "a", examples[:6])
    DataDir.write(tmp_path / "b", examples[5:])
    loaded, faults = DataDir.combine([tmp_path / "a", tmp_path / "b"])
    assert [f.utt_id for f in faults] == [examples[5].utt_id]
    assert len(loaded) == len(examples) - 1


def test_nothing_unwritable_is_written(tmp_path):
    for wrong in (Example("a b", "asr", "de", "de", "x"), Example("a", "asr", "de", "de", "x\ny")):
        with pytest.raises(DataError, match="one line"):
            DataDir.write(tmp_path, [wrong])
    twice = [Example("a", "asr", "de", "de", "x")] * 2
    with pytest.raises(DataError, match="given twice"):
        DataDir.write(tmp_path, twice)


def test_too_large_a_bad_share_stops(data_dir):
    (data_dir / "utt2spk").write_text("ghost a\n")
    loaded, faults = DataDir.load(data_dir)
    check_share(faults, len(loaded), 0.1, "train")
    with pytest.raises(DataError, match=r"train: 1 of 15 .* unmatched id"):
        check_share(faults, len(loaded), 0.01, "train")
    twice = [Fault("bad audio", f"{n}.wav", f"u{n}", "empty file") for n in (1, 2)]
    with pytest.raises(DataError) as caught:
        check_share(twice, len(loaded), 0.05, "train")
    assert str(caught.value) == (
        f"train: 2 of {len(loaded) + 2} utterances are unusable, more than --max_bad_share 0.05 "
        "allows: 2 x bad audio, e.g. 1.wav: u1: empty file"
    )
    with pytest.raises(DataError, match="0 of 0"):
        check_share([], 0, 1.0, "train")


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        ("zh-CN", "zh"), ("zh_CN", "zh"), ("DE", "de"), ("eng", "en"), ("cmn", "zh"), ("zho", "zh"),
        ("jp", "ja"), ("de-DE", "de"), ("iw", "he"), ("arb", "ar"), ("zh-HK", "yue"), ("xx", None),
        ("", None), ("x" * 5000, None), ("d\u00e9", None),
    ],
)  # fmt: skip
def test_a_language_has_one_code(code: str, meant: str | None) -> None:
    assert not is_language(code)
    assert meant_language(code) == meant
    for own in ("zh", "yue", "nan", "wuu", "en", "nb", "fil", "or", "lo"):
        assert is_language(own)


def test_the_mend_is_named(data_dir: Path) -> None:
    said = []
    for table, line in [("utt2lang", f"{UTT} cmn"), ("wav.scp", f"{UTT} sox a.wav -t wav - |")]:
        path = data_dir / table
        before = path.read_text()
        path.write_text(before.replace(next(x for x in before.split("\n") if UTT in x), line))
        said.append(report_faults(DataDir.load(data_dir)[1]))
        path.write_text(before)
    (data_dir / "utt2task").unlink()
    said.append(report_faults(DataDir.load(data_dir)[1]))
    assert "cmn; did you mean `zh`?" in said[0]
    assert "run it once into a file" in said[1]
    assert "awk '{print $1, \"asr\"}' text > utt2task" in said[2]


def test_a_table_that_is_no_file_is_named_and_never_waited_for(data_dir: Path) -> None:
    for table in ("utt2task", "utt2spk", "wav.scp"):
        content = (data_dir / table).read_text() if (data_dir / table).exists() else ""
        (data_dir / table).unlink(missing_ok=True)
        os.mkfifo(data_dir / table)
        loaded, faults = DataDir.load(data_dir)
        assert not loaded and "unreadable file" in kinds(faults)
        assert "not a regular file" in report_faults(faults)
        (data_dir / table).unlink()
        (data_dir / table).write_text(content)
        if not content:
            (data_dir / table).unlink()


def test_an_empty_reference_is_one(tmp_path: Path) -> None:
    """Every word that is written for silence is an insertion; a training has no use for it."""
    spoken = Example("a", "asr", "de", "de", "x", audio="a.wav")
    silent = Example("b", "asr", "de", "de", "", audio="b.wav")
    DataDir.write(tmp_path, [spoken, silent])
    assert (tmp_path / "text").read_text() == "a x\nb\n"
    assert DataDir.load(tmp_path, empty_text=True) == ([spoken, silent], [])
    assert DataDir.load(tmp_path, need_text=False) == ([spoken, silent], [])
    loaded, faults = DataDir.load(tmp_path)
    assert loaded == [spoken] and kinds(faults) == ["empty text"]
    DataDir.write(tmp_path, [silent], with_text=True)
    assert (tmp_path / "text").read_text() == "b\n"
    DataDir.write(tmp_path, [silent])
    assert not (tmp_path / "text").exists()
    assert kinds(DataDir.load(tmp_path, empty_text=True)[1]) == ["missing file"]


_damage = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            ["a", "b", "asr", "t2tt", "de", "eng", " ", "\t", "\n", "\r\n", "\u3000", "\x00", "\ufeff",
             "9" * 5000, "-1", "1e999", "nan", "x.wav", "|", "r 0 1"]
        ),
        max_size=12,
    ).map(lambda parts: "".join(parts).encode()),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(TABLES), _damage, min_size=1, max_size=4))
def test_any_bytes_in_any_table_give_faults_or_examples(
    tmp_path_factory: pytest.TempPathFactory, tables: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("any", numbered=True)
    content = {"utt2task": "asr", "utt2lang": "de", "text": "x y", "wav.scp": "a.wav"}
    for name, value in content.items():
        (path / name).write_text(f"a {value}\nb {value}\n")
    for name, raw in tables.items():
        (path / name).write_bytes(raw)
    loaded, faults = DataDir.load(path)
    bad = {fault.utt_id for fault in faults}
    assert not bad & {example.utt_id for example in loaded}
    if (
        "utt2task" not in tables and None not in bad
    ):  # which names what there is; None: a whole table
        assert {"a", "b"} <= bad | {example.utt_id for example in loaded}
    DataDir.write(path, loaded)  # what is read can be written
    if loaded:
        assert DataDir.load(path) == (sorted(loaded, key=lambda e: e.utt_id), [])
