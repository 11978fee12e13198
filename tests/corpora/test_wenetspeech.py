"""WenetSpeech in its exact layout with its known faults: what is kept, what is dropped and why."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.bin.part_format_data import main as format_data
from espnet_part.corpora.wenetspeech import Recording, Unusable, _span, main
from espnet_part.data.datadir import DataDir
from tests.corpora.tiny_wenetspeech import CUT, LONG, LOST, SHORT, write_wenetspeech

SPLITS = ("train", "dev", "test_net", "test_meeting")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_wenetspeech(tmp_path_factory.mktemp("wenetspeech"))


def run(corpus, out, *options):
    main(["--corpus_dir", str(corpus), "--out", str(out), *options])
    loaded = {}
    for split in SPLITS:
        examples, faults = DataDir.load(out / split)
        assert not faults
        loaded[split] = {e.utt_id: e for e in examples}
    return loaded


def refused(capsys, corpus, out):
    with pytest.raises(SystemExit) as stop:
        main(["--corpus_dir", str(corpus), "--out", str(out / "data")])
    assert stop.value.code == 1
    assert not list(out.glob("data/*"))  # no half-made directory
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "data"
    return out, run(corpus, out)


def test_what_is_kept(made, corpus):
    _, loaded = made
    kept = {utt: (e.text, e.segment) for utt, e in loaded["train"].items()}
    usual = "怎么样这些日子住得还习惯吧"
    last = kept.pop(f"wenetspeech_{SHORT}_S00003-asr")
    assert last == (usual, (3.5, pytest.approx(4.0, abs=0.01)))  # where the file ends
    assert kept == {
        f"wenetspeech_{SHORT}_S00000-asr": (usual, (0.0, 1.0)),
        f"wenetspeech_{SHORT}_S00001-asr": (usual, (1.0, 2.25)),
        f"wenetspeech_{SHORT}_S00002-asr": (usual, (2.25, 3.5)),
        f"wenetspeech_{SHORT}_S00013-asr": ("他 说 OK", (0.0, 1.0)),
        f"wenetspeech_{LONG}_S00000-asr": (usual, (0.5, 1.5)),
        f"wenetspeech_{LONG}_S00001-asr": (usual, (4.0, 5.0)),
        f"wenetspeech_{CUT}_S00000-asr": (usual, (0.0, 1.0)),
    }
    example = loaded["train"][f"wenetspeech_{LONG}_S00000-asr"]
    assert (example.task, example.lang, example.tgt) == ("asr", "zh", "zh")
    assert example.audio == str(corpus / f"audio/train/podcast/B00001/{LONG}.opus")
    assert len(loaded["dev"]) == 2
    assert {utt: e.text for utt, e in loaded["test_net"].items()} == {
        "wenetspeech_TEST_NET_Y0001_S00000-asr": "他说 你好",
        "wenetspeech_TEST_NET_Y0001_S00002-asr": "a < b [见附录]",
    }
    assert list(loaded["test_meeting"]) == ["wenetspeech_TEST_MEETING_T0001_S00000-asr"]


def dropped(directory):
    rows = (directory / "dropped.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {(row.split("\t")[3], row.split("\t")[4]) for row in rows}


def test_what_is_dropped_and_why(made):
    out, _ = made
    assert dropped(out / "train") == {
        (f"{SHORT}_S00004", "beyond the end of the recording"),
        (f"{SHORT}_S00005", "beyond the end of the recording"),
        (f"{SHORT}_S00006", "ends before it begins"),
        (f"{SHORT}_S00007", "ends before it begins"),
        (f"{SHORT}_S00008", "times that are none"),
        (f"{SHORT}_S00009", "times that are none"),
        (f"{SHORT}_S00010", "empty text"),
        (f"{SHORT}_S00011", "empty text"),
        (f"{SHORT}_S00012", "tag in the text"),
        (f"wenetspeech_{SHORT}_S00001-asr", "duplicate id"),
        (f"{SHORT} S00016", "no id"),
        (f"{LOST}_S00000", "missing audio"),
    }
    assert dropped(out / "test_net") == {("TEST_NET_Y0001_S00001", "tag in the text")}
    assert dropped(out / "dev") == dropped(out / "test_meeting") == set()


def test_account(made):
    out, _ = made
    (train,) = json.loads((out / "train" / "corpus.json").read_text())
    counts = train["languages"]["zh"]["asr"]
    assert (counts["official"], counts["read"], counts["kept"]) == (None, 20, 8)
    assert sum(counts["dropped"].values()) == 12
    assert counts["cleaned"] == {
        "duration in the metadata too short": 1,
        "end moved to that of the recording": 1,
        "odd spaces": 1,
    }
    assert "train: subset M" in train["notes"]
    assert any("recording 5: no aid, path or segments" in note for note in train["notes"])
    (test,) = json.loads((out / "test_net" / "corpus.json").read_text())
    counts = test["languages"]["zh"]["asr"]
    assert (counts["official"], counts["read"], counts["kept"]) == (24774, 3, 2)
    assert counts["cleaned"] == {"tag taken out of the text": 1}


@pytest.mark.parametrize(("subset", "count"), [("S", 1), ("M", 8), ("L", 9)])
def test_subsets(corpus, tmp_path, subset, count):
    assert len(run(corpus, tmp_path / "data", "--subset", subset)["train"]) == count


def test_what_the_files_contradict_is_found_when_audio_is_formatted(made, tmp_path):
    out, _ = made
    options = ["--audio_format", "copy", "--nj", "1", "--max_bad_share", "0.5"]
    format_data(["--in_dir", str(out / "train"), "--out_dir", str(tmp_path / "raw"), *options])
    rows = [row.split("\t") for row in (tmp_path / "raw/bad_audio.tsv").read_text().splitlines()]
    bad = dict(rows)
    assert set(bad) == {f"wenetspeech_{LONG}_S00001-asr", f"wenetspeech_{CUT}_S00000-asr"}
    assert "the audio at 2.0" in bad[f"wenetspeech_{LONG}_S00001-asr"]
    formatted, faults = DataDir.load(tmp_path / "raw")
    assert not faults
    assert len(formatted) == 6
    seconds = {e.utt_id[-9:-4]: (e.num_samples or 0) / 16000 for e in formatted}
    assert seconds["00002"] == pytest.approx(1.25, abs=1e-3)
    assert seconds["00003"] == pytest.approx(0.5, abs=0.01)


def test_cut_or_foreign_metadata(corpus, tmp_path, capsys):
    copy = tmp_path / "corpus"
    copy.mkdir()
    (copy / "audio").symlink_to(corpus / "audio")
    out = tmp_path / "out"
    assert "WenetSpeech.json: cannot be read" in refused(capsys, copy, out)
    whole = (corpus / "WenetSpeech.json").read_bytes()
    (copy / "WenetSpeech.json").write_bytes(whole[: len(whole) // 2])
    assert "download it again" in refused(capsys, copy, out)
    (copy / "WenetSpeech.json").write_text('{"data": []}')
    assert "no list `audios`" in refused(capsys, copy, out)
    content = json.loads(whole)
    content["audios"] = content["audios"][:5]
    (copy / "WenetSpeech.json").write_text(json.dumps(content))
    assert "no segment is in the subset DEV" in refused(capsys, copy, out)


def test_no_audio_at_all_is_an_error(corpus, tmp_path, capsys):
    """A mount that is gone leaves the directories; nothing of it may pass for a prepared corpus."""
    copy = tmp_path / "corpus"
    for split in SPLITS:
        (copy / "audio" / split).mkdir(parents=True)
    (copy / "WenetSpeech.json").write_bytes((corpus / "WenetSpeech.json").read_bytes())
    said = refused(capsys, copy, tmp_path / "out")
    assert "rows is usable" in said and "missing audio" in said


@pytest.mark.parametrize(
    "value", ["9" * 5000, "[" * 2000 + "]" * 2000, '"' + "x" * 100_000 + '"', "1e999", "-0.0"]
)
def test_odd_values_in_the_metadata_are_named(corpus, tmp_path, capsys, value):
    copy = tmp_path / "corpus"
    copy.mkdir()
    (copy / "audio").symlink_to(corpus / "audio")
    content = json.loads((corpus / "WenetSpeech.json").read_bytes())
    content["audios"][0]["segments"][0]["begin_time"] = "ODD"
    content["audios"][0]["duration"] = "ODD"
    (copy / "WenetSpeech.json").write_text(json.dumps(content).replace('"ODD"', value))
    try:
        main(["--corpus_dir", str(copy), "--out", str(tmp_path / "data")])
    except SystemExit:  # in one line
        assert "error: " in capsys.readouterr().err.strip().splitlines()[-1]
    else:
        examples, faults = DataDir.load(tmp_path / "data" / "train")
        assert examples and not faults


def test_missing_directories(corpus, tmp_path, capsys):
    assert "no such directory" in refused(capsys, tmp_path / "nowhere", tmp_path)
    copy = shutil.copytree(corpus, tmp_path / "copy")
    shutil.rmtree(copy / "audio/test_net")
    assert "audio: no directory test_net; WenetSpeech has" in refused(capsys, copy, tmp_path)


def test_memory_does_not_grow_with_the_metadata(tmp_path):
    """Recordings are read one at a time: the second is not touched before it is asked for."""
    from espnet_part.corpora.wenetspeech import read_recordings

    path = tmp_path / "WenetSpeech.json"
    one = json.dumps({"aid": "a", "segments": ["x" * 100] * 1000})
    path.write_text('{"audios": [' + ",".join([one] * 5) + ", this is no JSON")
    recordings = read_recordings(path)
    assert next(recordings)["aid"] == "a"
    assert next(recordings)["aid"] == "a"


SECONDS = st.floats(0, 20) | st.sampled_from([0.0, 4.0, 4.5, 10.0])


@given(
    begin=SECONDS | st.floats() | st.none() | st.text(max_size=3),
    end=SECONDS | st.floats() | st.none() | st.booleans(),
    said=SECONDS | st.none(),
    real=SECONDS | st.none(),
)
def test_a_segment_lies_within_its_recording_or_is_dropped(
    tmp_path_factory, begin, end, said, real
):
    entry = {"aid": "a", "path": "a.opus", "duration": said, "segments": []}
    recording = Recording(entry, tmp_path_factory.getbasetemp(), {})
    recording._seconds = real  # what the header of the file says, where it can be read
    try:
        (first, last), _ = _span(recording, {"begin_time": begin, "end_time": end})
    except Unusable as fault:
        assert fault.args[0] in (
            "times that are none",
            "ends before it begins",
            "beyond the end of the recording",
        )
        return
    assert first == begin
    assert 0 <= first < last <= end
    assert last >= end - 0.5
    known = [length for length in (said, real) if length is not None]
    assert not known or last <= max(known)
