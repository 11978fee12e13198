"""The account of a data preparation."""

from __future__ import annotations

import json

import pytest

from espnet_part.corpora.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    official = {("test", "de", "asr"): 3, ("test", "de-en", "s2tt"): 9}
    return Ledger("Corpus", "1.0", "CC0-1.0", official)


def fill(ledger: Ledger, directory) -> None:
    ledger.open_split("test", directory)
    ledger.read("test", "de", "asr", 3)
    ledger.keep("test", "de", "asr", 2)
    ledger.clean("test", "de", "spaces")
    ledger.drop("test", "de", "a.mp3", "missing clip", "a\tb\nc")
    for task in ("s2tt", "t2tt"):
        ledger.read("test", "de-en", task)
    ledger.drop("test", "de-en", "table:7", "unknown split", "x", "s2tt,t2tt")
    ledger.close_split("test", directory)


def test_dropped_items_are_lines(ledger, tmp_path):
    fill(ledger, tmp_path)
    assert (tmp_path / "dropped.tsv").read_text().splitlines() == [
        "split\tlang\ttask\titem\treason\tdetail",
        "test\tde\tasr\ta.mp3\tmissing clip\ta b c",
        "test\tde-en\ts2tt,t2tt\ttable:7\tunknown split\tx",
    ]


def test_summary_stands_beside_the_official_counts(ledger, tmp_path, capsys):
    ledger.note("the overlap was not checked")
    ledger.note("the overlap was not checked")
    assert capsys.readouterr().err == "warning: the overlap was not checked\n"
    fill(ledger, tmp_path)
    assert ledger.summary().splitlines() == [
        "Corpus 1.0 (CC0-1.0)",
        "",
        "| split | language | task | official | read | kept | dropped                               |",
        "|-------|----------|------|---------:|-----:|-----:|---------------------------------------|",
        "| test  | de       | asr  |        3 |    3 |    2 | 1 (missing clip 1); cleaned: spaces 1 |",
        "| test  | de-en    | s2tt |        9 |    1 |    0 | 1 (unknown split 1)                   |",
        "| test  | de-en    | t2tt |        - |    1 |    0 | 1 (unknown split 1)                   |",
        "",
        "- the overlap was not checked",
    ]
    assert (tmp_path / "corpus.md").read_text() == ledger.summary() + "\n"
    assert "| test" not in ledger.summary("train")


def test_json_of_a_split(ledger, tmp_path):
    fill(ledger, tmp_path)
    (entry,) = json.loads((tmp_path / "corpus.json").read_text())
    assert entry["languages"]["de-en"]["t2tt"] == {
        "official": None,
        "read": 1,
        "kept": 0,
        "dropped": {"unknown split": 1},
        "cleaned": {},
    }
    assert [entry[key] for key in ("corpus", "release", "split", "license", "notes")] == [
        "Corpus",
        "1.0",
        "test",
        "CC0-1.0",
        [],
    ]


def test_a_split_that_fails_leaves_no_totals(ledger, tmp_path):
    ledger.open_split("test", tmp_path)
    ledger.close_split("test", None)
    assert [path.name for path in tmp_path.iterdir()] == ["dropped.tsv"]
