"""Corpus, checkpoint and decoding options come with the figures."""

import json

import pytest

from espnet_part.errors import DataError
from espnet_part.score.origin import (
    describe_corpus,
    describe_losses,
    read_corpus,
    read_decoding,
    scorer_versions,
)

CORPUS = [
    {"corpus": "Common Voice", "release": "cv-corpus-15.0-2023-09-08", "split": "test"},
    {"corpus": "Own recordings"},
]


def _write_settings(directory, number, content):
    path = directory / f"logdir/output.{number}/decode.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_corpus(tmp_path):
    assert read_corpus(tmp_path) == []
    (tmp_path / "corpus.json").write_text(json.dumps(CORPUS))
    assert read_corpus(tmp_path) == CORPUS
    text = "Common Voice (cv-corpus-15.0-2023-09-08) test; Own recordings"
    assert describe_corpus(CORPUS) == text


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_faulty_corpus_file(tmp_path, content):
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(DataError, match=r"corpus\.json"):
        read_corpus(tmp_path)


def test_decoding(tmp_path):
    assert read_decoding(tmp_path) == ({}, {})
    settings = {"model": "abc", "tokenizer": "def", "beam_size": 4, "dtype": "float32"}
    _write_settings(tmp_path, 1, settings)
    _write_settings(tmp_path, 2, settings)
    expected = {"model": "abc", "tokenizer": "def"}, {"beam_size": 4, "dtype": "float32"}
    assert read_decoding(tmp_path) == expected
    _write_settings(tmp_path, 3, {**settings, "beam_size": 1})
    with pytest.raises(DataError, match="decoded with different models or settings"):
        read_decoding(tmp_path)


def test_versions_name_what_decides_figures():
    assert {"espnet_part", "jiwer", "sacrebleu", "whisper-normalizer"} <= scorer_versions().keys()


def test_what_data_preparation_lost():
    whole = {"official": 10, "read": 10, "kept": 10, "dropped": {}}
    some = {"official": 10, "read": 9, "kept": 7, "dropped": {"missing clip": 2}}
    unofficial = {"official": None, "read": 5, "kept": 4, "dropped": {"empty text": 1}}
    corpus = {
        "corpus": "x",
        "languages": {"de": {"asr": some, "t2tt": some}, "fr": {"asr": whole}},
    }
    assert describe_losses([corpus], ["asr"]) == [
        "de asr: 7 of 10 items of the official split are scored (dropped: missing clip 2)"
    ]
    corpus["languages"] = {"de-en": {"s2tt": unofficial}}
    assert describe_losses([corpus, *CORPUS], ["s2tt"]) == [
        "de-en s2tt: 4 of 5 items of the official split are scored (dropped: empty text 1)"
    ]
