"""ESPnet's decoding directories, in the layouts of asr1, st1 and s2t1."""

import os
import subprocess
import sys

import pytest

from espnet_part.compare.espnet_directories import (
    find_test_set,
    match_trn_keys,
    read_decoding,
    read_trn,
)
from espnet_part.errors import DataError
from tests.compare.layouts import write_asr1, write_shards, write_st1, write_table, write_trn

REFERENCES = {"s1-u1": "guten Tag", "s1-u2": "wie geht es", "s2-u3": "(gut) danke"}
HYPOTHESES = {"s1-u1": "guten Tag", "s1-u2": "wie geht s", "s2-u3": "(gut) danke"}
UTT2SPK = {"s1-u1": "s1", "s1-u2": "s1", "s2-u3": "s2"}


def test_asr1(tmp_path):
    write_asr1(tmp_path, REFERENCES, HYPOTHESES, UTT2SPK)
    found = read_decoding(tmp_path)
    assert found.source == "text" and found.hypotheses == HYPOTHESES
    assert found.reference_source == "score_wer/ref.trn"
    assert found.references == {key: text.upper() for key, text in REFERENCES.items()}
    assert found.notes == []


def test_asr1_through_espnets_own_tokenizer(tmp_path):
    """The pipeline of asr.sh's stage 13, with ESPnet's command and coreutils."""
    write_shards(tmp_path, HYPOTHESES)
    write_table(tmp_path / "data/text", REFERENCES)
    write_table(tmp_path / "data/utt2spk", UTT2SPK)
    tokenize = f"{sys.executable} -m espnet2.bin.tokenize_text -f 2- --input - --output -"
    options = "--non_linguistic_symbols none --remove_non_linguistic_symbols true"
    script = "set -euo pipefail\n"
    for directory, kind in (("score_wer", "word"), ("score_cer", "char")):
        script += f"mkdir -p {directory}\n"
        for side, text in (("ref", "data/text"), ("hyp", "text")):
            script += (
                f"paste <(<{text} {tokenize} --token_type {kind} {options} --cleaner none) "
                '<(<data/utt2spk awk \'{ print "(" $2 "-" $1 ")" }\') '
                f">{directory}/{side}.trn\n"
            )
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert "<space>" in (tmp_path / "score_cer/ref.trn").read_text()
    assert read_decoding(tmp_path).references == REFERENCES
    for leftover in (tmp_path / "text", *tmp_path.glob("logdir/output.*/1best_recog/text")):
        leftover.unlink()
    assert read_decoding(tmp_path).hypotheses == {
        f"{UTT2SPK[key]}-{key}": text for key, text in HYPOTHESES.items()
    }
    (tmp_path / "score_wer/ref.trn").unlink()
    (tmp_path / "score_wer/hyp.trn").unlink()
    by_characters = read_decoding(tmp_path)
    assert by_characters.source == "score_cer/hyp.trn"
    assert by_characters.hypotheses["s1-s1-u2"] == "wie geht s"
    assert by_characters.references["s2-s2-u3"] == "(gut) danke"


def test_pieces_become_words(tmp_path):
    write_asr1(tmp_path, REFERENCES, HYPOTHESES, UTT2SPK, cleaner=str)
    for name in ("text", "score_wer/hyp.trn", "score_cer/hyp.trn", "score_wer/ref.trn"):
        (tmp_path / name).unlink()
    (tmp_path / "score_cer/ref.trn").unlink()
    for shard in tmp_path.glob("logdir/output.*/1best_recog/text"):
        shard.unlink()
    found = read_decoding(tmp_path)
    assert found.source == "score_ter/hyp.trn"
    assert list(found.hypotheses.values()) == list(HYPOTHESES.values())
    assert list(found.references.values()) == list(REFERENCES.values())


def test_a_missing_hypothesis_shifts_trn_files_but_not_text(tmp_path):
    fewer = {key: text for key, text in HYPOTHESES.items() if key != "s1-u1"}
    write_asr1(tmp_path, REFERENCES, fewer, UTT2SPK)
    shifted = (tmp_path / "score_wer/hyp.trn").read_text().splitlines()
    assert shifted[0] == "wie geht s\t(s1-s1-u1)"
    assert read_decoding(tmp_path).hypotheses == fewer


def _detokenize(line):
    return line.replace(" ,", ",").replace(" .", ".").replace(" &apos;", "'")


ST_HYPOTHESES = {"u1": "hello , world .", "u2": "it &apos;s late ."}


def test_st1_takes_the_detokenised_text(tmp_path):
    references = {"u1": "hello , world !", "u2": "it &apos;s late ."}
    utt2spk = {"u1": "spk", "u2": "spk"}
    write_st1(tmp_path, references, ST_HYPOTHESES, utt2spk, _detokenize)
    found = read_decoding(tmp_path)
    assert found.source == "score_bleu/hyp.trn.detok"
    assert found.hypotheses == {"u1": "hello, world.", "u2": "it's late."}
    assert found.reference_source == "score_bleu/ref.trn.detok"
    assert found.references["u2"] == "it's late."
    (tmp_path / "score_bleu/hyp.trn.detok").unlink()
    found = read_decoding(tmp_path)
    assert found.hypotheses == ST_HYPOTHESES and "may still be tokenised" in found.notes[0]


def test_st1_lines_out_of_step_are_not_used(tmp_path):
    """st.sh's paste gives the first text to the second id where a hypothesis is lacking."""
    utt2spk = {f"u{n}": "spk" for n in range(1, 4)}
    hypotheses = {"u2": "second .", "u3": "third ."}
    write_st1(tmp_path, dict.fromkeys(utt2spk, "x ."), hypotheses, utt2spk, _detokenize)
    assert (tmp_path / "score_bleu/hyp.trn.detok").read_text() == "second.\nthird.\n\n"
    found = read_decoding(tmp_path)
    assert found.hypotheses == hypotheses and "does not agree" in found.notes[0]
    swapped = {"u1": "first .", "u2": "second .", "u3": "third ."}
    write_st1(tmp_path, dict.fromkeys(utt2spk, "x ."), swapped, utt2spk, _detokenize)
    detokenised = tmp_path / "score_bleu/hyp.trn.detok"
    for content in ("second.\nfirst.\nthird.\n", "first.\nsecond.\n"):
        detokenised.write_text(content)
        found = read_decoding(tmp_path)
        assert found.hypotheses == swapped and "does not agree" in found.notes[0]


def test_further_references_are_told(tmp_path):
    write_st1(tmp_path, ST_HYPOTHESES, ST_HYPOTHESES, {"u1": "s", "u2": "s"}, _detokenize)
    (tmp_path / "score_bleu/ref.trn.org.1").write_text("")
    assert "1 further references in score_bleu are not used" in read_decoding(tmp_path).notes


def test_shards_alone_and_newer_shards(tmp_path):
    write_shards(tmp_path, HYPOTHESES)
    (tmp_path / "text").write_text("s1-u1 stale\n")
    os.utime(tmp_path / "text", (1, 1))
    found = read_decoding(tmp_path)
    assert found.hypotheses == HYPOTHESES and "text is older" in found.notes[0]
    (tmp_path / "text").unlink()
    assert read_decoding(tmp_path).hypotheses == HYPOTHESES


def test_test_sets(tmp_path):
    write_table(tmp_path / "test_a/text", HYPOTHESES)
    (tmp_path / "images").mkdir()
    assert find_test_set(tmp_path) == find_test_set(tmp_path / "test_a") == tmp_path / "test_a"
    write_table(tmp_path / "test_b/text", HYPOTHESES)
    assert find_test_set(tmp_path, "test_b") == tmp_path / "test_b"
    with pytest.raises(DataError, match=r"several test sets \(test_a, test_b\)"):
        find_test_set(tmp_path, "test")
    with pytest.raises(DataError, match="no hypotheses here"):
        find_test_set(tmp_path / "images")


def test_trn_lines(tmp_path):
    path = tmp_path / "hyp.trn"
    path.write_text("a b\t(s-u1)\n(c) d (s-u2)\n\t(s-u3)\n\n")
    assert read_trn(path) == {"s-u1": "a b", "s-u2": "(c) d", "s-u3": ""}
    path.write_text("a b\n")
    with pytest.raises(DataError, match="line 1: no"):
        read_trn(path)
    path.write_text("a (s-u)\nb (s-u)\n")
    with pytest.raises(DataError, match="line 2: the id s-u is given twice"):
        read_trn(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        read_trn(path)


def test_trn_keys_are_matched_only_where_that_is_certain():
    texts = {"a-b-c": "x"}
    assert match_trn_keys(texts, {"b-c": ""}) == {"b-c": "x"}
    assert match_trn_keys(texts, {"c": ""}) == {"c": "x"}
    assert match_trn_keys(texts, {"a-b-c": ""}) == {"a-b-c": "x"}
    assert match_trn_keys(texts, {"c": "", "b-c": ""}) == {"a-b-c": "x"}
    assert match_trn_keys(texts, {"other": ""}) == {"a-b-c": "x"}


def test_part_score_trn_files_are_no_references(tmp_path):
    write_table(tmp_path / "text", HYPOTHESES)
    write_trn(tmp_path / "score_wer/ref.trn", ["guten tag"], {"s1-u1": "de"})
    (tmp_path / "score.json").write_text("{}")
    assert read_decoding(tmp_path).references == {}
