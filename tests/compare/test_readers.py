"""Outputs of systems, whatever wrote them."""

import json

import pytest

from espnet_part.compare.jsonl import Keys, read_jsonl
from espnet_part.compare.readers import parse_argument, read_output
from espnet_part.errors import ConfigError, DataError
from tests.compare.layouts import write_asr1, write_table


def _lines(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("id_key", ["id", "utt_id"])
@pytest.mark.parametrize("key", ["text", "prediction", "pred_text", "hypothesis", "transcription"])
def test_keys_are_found_by_name(tmp_path, id_key, key):
    path = _lines(tmp_path / "x.jsonl", {id_key: "u1", key: "a"}, {id_key: "u2", key: "b\nc"})
    assert read_jsonl(path).hypotheses == {"u1": "a", "u2": "b c"}


@pytest.mark.parametrize("key", ["audio", "path", "file", "audio_filepath"])
def test_files_are_identified_by_their_stem(tmp_path, key):
    path = _lines(tmp_path / "x.jsonl", {key: "/data/clips/cv_de_17.mp3", "text": "a"})
    found = read_jsonl(path)
    assert found.hypotheses == {"cv_de_17": "a"}
    assert found.notes == [f"id from `{key}` (file name without extension), hypothesis from `text`"]


def test_hugging_face_audio_feature(tmp_path):
    row = {"audio": {"path": "a/b.wav", "sampling_rate": 16000}, "transcription": "x"}
    assert read_jsonl(_lines(tmp_path / "x.jsonl", row)).hypotheses == {"b": "x"}


def test_nemo_manifest(tmp_path):
    row = {"audio_filepath": "a/b.wav", "text": "the reference", "pred_text": "the hypothesis"}
    found = read_jsonl(_lines(tmp_path / "x.json", row))
    assert (found.hypotheses, found.references) == ({"b": "the hypothesis"}, {"b": "the reference"})


def test_keys_by_option(tmp_path):
    path = _lines(tmp_path / "x.jsonl", {"name": "u", "out": "h", "gold": "r", "text": "no"})
    found = read_jsonl(path, Keys("name", "out", "gold"))
    assert (found.hypotheses, found.references) == ({"u": "h"}, {"u": "r"})
    with pytest.raises(DataError, match=r"hypothesis: absent.*--hypothesis_key"):
        read_jsonl(path, Keys("name", "absent"))
    with pytest.raises(DataError, match="no key for the id"):
        read_jsonl(path)


def test_a_null_hypothesis_is_missing_and_counted(tmp_path):
    path = _lines(
        tmp_path / "x.jsonl", {"id": "a", "text": "x"}, {"id": "b", "text": None}, {"id": "c"}
    )
    found = read_jsonl(path)
    assert found.hypotheses == {"a": "x"} and "2 objects have no `text`" in found.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n',
            "object 2: the id a is given twice",
        ),
        ('{"id": "a", "text": "x"}\n{"id": ', "line 2: not valid JSON"),
        ('{"id": "a", "text": "x"}\n{"text": "y"}\n', "object 2: no id"),
        ('{"id": "a", "text": "x"}\n[1]\n', "object 2 is a list"),
        ("", "empty"),
    ],
)
def test_faulty_json_is_named(tmp_path, content, message):
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_jsonl(path)


def test_a_json_list(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"id": 7, "text": "x"}], indent=1))
    assert read_jsonl(path).hypotheses == {"7": "x"}


def test_arguments(tmp_path):
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert parse_argument(f"x={odd}") == ("x", odd)
    assert parse_argument(str(odd)) == ("", odd)
    assert parse_argument("exp/lr=1/decode")[0] == ""
    with pytest.raises(ConfigError, match="must be"):
        parse_argument("x=")


def test_names_and_formats(tmp_path):
    directory = tmp_path / "asr_conformer/decode_asr/test"
    write_asr1(directory, {"u": "a b"}, {"u": "a c"}, {"u": "s"})
    found = read_output(str(directory.parent), "test")
    assert found.name == "asr_conformer/decode_asr" and found.references == {"u": "A B"}
    assert read_output(str(directory / "text")).name == "asr_conformer/decode_asr"
    assert read_output(f"X={directory}").name == "X"
    trn = read_output(str(directory / "score_wer/hyp.trn"))
    assert (trn.name, trn.hypotheses) == ("hyp", {"s-u": "a c"})
    write_table(tmp_path / "whisper.txt", {"u": "a d"})
    plain = read_output(str(tmp_path / "whisper.txt"))
    assert (plain.name, plain.source, plain.hypotheses) == (
        "whisper",
        "lines id text",
        {"u": "a d"},
    )
    (tmp_path / "out").write_text('\ufeff{"id": "u", "text": "a"}\n', encoding="utf-8")
    assert read_output(str(tmp_path / "out")).source == "JSON"
    with pytest.raises(DataError, match="no such file or directory"):
        read_output(str(tmp_path / "absent"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="no hypotheses"):
        read_output(str(tmp_path / "empty"))


def test_special_tokens_of_s2t1_and_whisper(tmp_path):
    texts = {
        "a": "<deu><asr><notimestamps> guten Tag",
        "b": "<deu><st_eng><0.00> good<1.20> day<1.20>",
        "c": "<|de|><|transcribe|> ja",
        "d": "<unk> x < 3",
        "e": "a <b> c",
        "f": "<deu><asr>",
    }
    directory = tmp_path / "test"
    write_asr1(directory, texts, texts, dict.fromkeys(texts, "s"), cleaner=str)
    found = read_output(str(directory))
    assert found.hypotheses == {
        "a": "guten Tag",
        "b": "good day",
        "c": "ja",
        "d": "<unk> x < 3",
        "e": "a <b> c",
        "f": "",
    }
    assert found.references["a"] == "guten Tag"
    assert any("special tokens removed from 4 hypotheses" in note for note in found.notes)
    assert read_output(str(directory), special_tokens="").hypotheses == texts
    only = read_output(str(directory), special_tokens=r"<deu>").hypotheses
    assert only["a"] == "<asr><notimestamps> guten Tag"
    with pytest.raises(ConfigError, match="special_tokens"):
        read_output(str(directory), special_tokens="(")
