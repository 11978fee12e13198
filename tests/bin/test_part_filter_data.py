from __future__ import annotations

import dataclasses

import pytest

from espnet_part.bin.part_filter_data import main
from espnet_part.data.datadir import DataDir, Example

SPEECH = Example("good", "asr", "de", "de", "ein Hund", audio="a.wav", num_samples=16000)
TEXT = Example("text", "t2tt", "de", "en", "a dog", src_text="ein Hund")
BAD = {
    "short": (dataclasses.replace(SPEECH, utt_id="short", num_samples=1000), "speech too short"),
    "long": (dataclasses.replace(SPEECH, utt_id="long", num_samples=500000), "speech too long"),
    "words": (dataclasses.replace(SPEECH, utt_id="words", text="x " * 600), "text too long"),
    "source": (dataclasses.replace(TEXT, utt_id="source", src_text="y" * 1001), "source text too"),
    "quick": (dataclasses.replace(SPEECH, utt_id="quick", text="x" * 60), "too much text"),
    "slow": (
        dataclasses.replace(SPEECH, utt_id="slow", text="x", num_samples=480000),
        "too little text",
    ),
}


def run(tmp_path, *options):
    main(["--in_dir", str(tmp_path / "in"), "--out_dir", str(tmp_path / "out"), *options])
    rows = (tmp_path / "out" / "dropped.tsv").read_text().splitlines()
    return {row.split("\t")[0]: row.split("\t")[1:] for row in rows}


def test_each_limit_with_its_reason(tmp_path, capsys):
    DataDir.write(tmp_path / "in", [SPEECH, TEXT, *(example for example, _ in BAD.values())])
    dropped = run(tmp_path, "--min_chars_per_second", "0.1")
    assert dropped.keys() == BAD.keys()
    for utt, (_, reason) in BAD.items():
        assert dropped[utt][0].startswith(reason)
    assert DataDir.load(tmp_path / "out") == ([SPEECH, TEXT], [])
    printed = capsys.readouterr().out
    assert "kept 2 utterances (0.00 h), dropped 6" in printed
    assert "1  speech too long" in printed


def test_faulty_lines_are_named_with_the_rest(tmp_path):
    DataDir.write(tmp_path / "in", [SPEECH, TEXT, dataclasses.replace(SPEECH, utt_id="bell")])
    text = tmp_path / "in" / "text"
    text.write_text(text.read_text().replace("bell ein", "bell \x07ein") + "nobody x\n")
    assert run(tmp_path) == {
        "bell": ["control character", "U+0007"],
        "nobody": ["unmatched id", "in text but not in utt2task"],
    }


def test_transcripts_are_normalised_and_translations_are_not(tmp_path):
    cased = "Ein Hund, Ａ!"
    examples = [
        dataclasses.replace(SPEECH, text=cased),
        dataclasses.replace(SPEECH, utt_id="marks", text="?!"),
        dataclasses.replace(SPEECH, utt_id="st", task="s2tt", tgt="en", text="A dog, A!"),
        dataclasses.replace(TEXT, text="A dog.", src_text=cased),
    ]
    DataDir.write(tmp_path / "in", examples)
    dropped = run(tmp_path, "--text_normalizer", "lower_no_punctuation")
    assert dropped == {"marks": ["no text after normalisation", "?!"]}
    kept, faults = DataDir.load(tmp_path / "out")
    assert not faults
    assert {e.utt_id: (e.text, e.src_text) for e in kept} == {
        "good": ("ein hund a", None),
        "st": ("A dog, A!", None),
        "text": ("A dog.", cased),
    }
    assert (tmp_path / "out" / "text_normalizer").read_text() == "lower_no_punctuation\n"


def test_limits_hold_for_the_normalised_text(tmp_path):
    DataDir.write(tmp_path / "in", [dataclasses.replace(SPEECH, text="x" + "!" * 60)])
    assert run(tmp_path, "--text_normalizer", "lower_no_punctuation") == {}


def test_without_a_normaliser_the_directory_says_none(tmp_path):
    DataDir.write(tmp_path / "in", [SPEECH])
    run(tmp_path)
    assert (tmp_path / "out" / "text_normalizer").read_text() == "none\n"


def test_nothing_left(tmp_path, capsys):
    DataDir.write(tmp_path / "in", [BAD["short"][0]])
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert "nothing is left; see" in capsys.readouterr().err


def test_unformatted_data(tmp_path, capsys):
    DataDir.write(tmp_path / "in", [dataclasses.replace(SPEECH, num_samples=None)])
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert "run part_format_data first" in capsys.readouterr().err


def test_wrong_limits(tmp_path):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, "--min_wav_duration", "40")
    assert stop.value.code == 2
