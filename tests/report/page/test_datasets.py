"""Sizes and losses of data sets."""

import json

import pytest

from espnet_part.document import Bullets, Table
from espnet_part.errors import DataError
from espnet_part.report.page.datasets import data_parts, dropped_rows, size_rows
from tests.report.page.make import EVIL, make_data, write_table


def test_sizes_by_task_and_language(recipe):
    hours = f"{2 / 3600:.2f}"
    assert size_rows("x", recipe / "data/test") == [
        ["x", "asr", "ar", "1", hours],
        ["x", "asr", "de", "1", hours],
        ["x", "asr", "zh", "1", hours],
        ["x", "s2tt", "de-en", "1", hours],
        ["x", "t2tt", "de-en", "1", "-"],
        ["x", "all", "", "5", hours],
    ]


def test_a_target_language_may_be_left_out(tmp_path):
    for name, value in (("utt2task", "asr"), ("utt2lang", "de"), ("utt2num_samples", "57600000")):
        write_table(tmp_path / name, {"a": value, "b": value})
    assert size_rows("x", tmp_path) == [["x", "asr", "de", "2", "2.00"]]


def test_tables_in_another_order_are_refused(tmp_path):
    (tmp_path / "utt2task").write_text("a asr\nb asr\n")
    (tmp_path / "utt2lang").write_text("b de\na de\n")
    with pytest.raises(DataError, match="sorted"):
        size_rows("x", tmp_path)


def test_reasons_are_counted_but_for_what_the_corpus_account_has(tmp_path):
    make_data(tmp_path / "data/a")
    path = tmp_path / "data/a/bad_audio.tsv"
    assert dropped_rows(path.parent) == [
        [str(path), "empty file", "2"],
        [str(path), EVIL, "1"],
    ]
    path.unlink()
    (path.parent / "dropped.tsv").write_text("split\tlang\ttask\titem\treason\tdetail\na\tb\tc\n")
    assert dropped_rows(path.parent) == []


def test_one_set_that_cannot_be_read_does_not_hide_another(recipe, tmp_path):
    make_data(tmp_path / "data/train")
    counts = {"official": 9, "read": 8, "kept": 5, "dropped": {"too long": 3}}
    corpus = [{"corpus": "C", "split": "train", "languages": {"de": {"asr": counts}}}]
    (tmp_path / "data/train/corpus.json").write_text(json.dumps(corpus))
    parts = data_parts({"gone": [tmp_path / "gone"], "train": [tmp_path / "data/train"]})
    tables = [part for part in parts if isinstance(part, Table)]
    assert tables[1].rows == [["train", "C train", "de", "asr", "9", "8", "5", "too long 3"]]
    (lacking,) = [part for part in parts if isinstance(part, Bullets)]
    assert len(lacking.items) == 1 and "gone" in str(lacking.items[0])
