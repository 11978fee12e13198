"""run.sh of Common Voice, from the corpus with its faults to RESULTS.md, with tiny models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.corpora.make import RELEASE, Locale, covost_table, dropped
from tests.recipes.tiny import copy_recipe, run_recipe, tiny_options

pytestmark = pytest.mark.recipe

SENTENCES = {"de": "Das ist Satz Nummer {}.", "ja": "これは文{}です。"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """German and Japanese: real clips, and the faults of tables and audio."""
    root = tmp_path_factory.mktemp("corpus")
    for name, sentence in SENTENCES.items():
        locale = Locale(root / RELEASE, name, speech=True)
        for split, first, count in (("train", 0, 40), ("dev", 100, 4), ("test", 200, 5)):
            rows: list[dict[str, str] | bytes] = [
                locale.row(first + n, sentence.format(n), client=f"{split}{n % 3}")
                for n in range(count)
            ]
            if split == "train":
                rows += [
                    locale.row(90, "   "),
                    locale.row(91, "fehlt", clip=False),
                    {**rows[0], "sentence": "doppelt"},
                    b"zu\twenig",
                ]
            locale.table(split, rows)
        # what only reading the audio shows: a clip of no bytes, junk, and one that is cut short
        clips = sorted(locale.clips.glob(f"common_voice_{name}_3?.mp3"))
        clips[0].write_bytes(b"")
        clips[1].write_bytes(b"no audio at all" * 50)
        clips[2].write_bytes(clips[2].read_bytes()[:1500])
    covost_table(root / "covost2", "de", "en", [("5", "This is sentence 5.", "test")])
    covost_table(root / "covost2", "ja", "en", [("6", "This is sentence 6.", "dev")])
    return root


def test_from_the_corpus_to_the_table(corpus, tmp_path):
    recipe = copy_recipe(tmp_path, "commonvoice")
    options = [*tiny_options(tmp_path, ["asr"]), "--langs", "de,ja", "--max_bad_share", "0.2"]
    variables = {"COMMONVOICE": corpus / RELEASE, "COVOST2": corpus / "covost2"}
    output = run_recipe(recipe, *options, **variables)

    train = recipe / "data/train"
    assert sorted(dropped(train)) == sorted(
        line
        for lang, held_out in (("de", 5), ("ja", 6))
        for line in (
            (lang, "asr", f"common_voice_{lang}_90.mp3", "empty sentence"),
            (lang, "asr", f"common_voice_{lang}_91.mp3", "missing clip"),
            (lang, "asr", f"cv_{lang}_common_voice_{lang}_0-asr", "duplicate id"),
            (lang, "asr", f"{lang}/train.tsv:45", "wrong number of columns"),
            (lang, "asr", f"common_voice_{lang}_{held_out}.mp3", "held out in CoVoST 2"),
        )
    )
    bad = [
        line.split("\t")
        for line in (recipe / "dump/raw/org/train/bad_audio.tsv").read_text().splitlines()
    ]
    reasons = {utt.removeprefix("cv_de_common_voice_de_"): why for utt, why in bad if "_de_" in utt}
    assert sorted(reasons) == ["30-asr", "31-asr", "32-asr"]
    assert reasons["30-asr"] == "empty file"
    assert reasons["31-asr"].startswith("not readable as audio")
    assert reasons["32-asr"].startswith("truncated")
    assert len(bad) == 6
    assert "official" in output and "16167" in output

    table = (recipe / "exp/RESULTS.md").read_text(encoding="utf-8")
    assert "RESULTS: Common Voice (de,ja)" in table
    assert RELEASE in table
    score = json.loads((recipe / "exp/part/decode_greedy/test/score.json").read_text())
    assert "de" in score["wer"] and "ja" in score["cer"]

    again = run_recipe(recipe, *options, **variables)
    assert again.count("already done") == 8  # stages 1-5, 7, 10 and 11
    # another directory is other data
    other = tmp_path / "elsewhere" / RELEASE
    shutil.copytree(corpus / RELEASE, other)
    moved = run_recipe(recipe, *options, "--stop_stage", "1", **{**variables, "COMMONVOICE": other})
    assert "Stage 1: data preparation\n" in moved


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("", "COMMONVOICE is not set: write it into db.sh"),
        ("/no/such/directory", "COMMONVOICE=/no/such/directory: no such directory"),
    ],
)
def test_without_the_corpus_it_ends_at_once(tmp_path, directory, said):
    recipe = copy_recipe(tmp_path, "commonvoice")
    (tmp_path / "tree/tools/setup.sh").write_text("#!/bin/sh\necho SET UP\n")
    output = run_recipe(recipe, fails=True, COMMONVOICE=directory)
    assert said in output
    assert "<locale>/{clips/*.mp3" in output
    assert "https://commonvoice.mozilla.org" in output
    assert "SET UP" not in output


def test_another_directory_is_found_out_before_the_set_up(tmp_path):
    recipe = copy_recipe(tmp_path, "commonvoice")
    (tmp_path / "tree/tools/setup.sh").write_text("#!/bin/sh\necho SET UP\n")
    output = run_recipe(recipe, fails=True, COMMONVOICE=tmp_path)
    assert "/<locale>/clips and no archives; see db.sh" in output
    assert "SET UP" not in output


def test_help_needs_no_corpus(tmp_path):
    output = run_recipe(copy_recipe(tmp_path, "commonvoice"), "--help", COMMONVOICE="")
    assert "--langs LIST" in output
    assert "--max_wav_duration" in output
