"""run.sh of CoVoST 2, from the tables with their faults to RESULTS.md, with tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.corpora.make import Locale, covost_table, dropped
from tests.recipes.tiny import copy_recipe, run_recipe, tiny_options

pytestmark = pytest.mark.recipe

RELEASE = "cv-corpus-4-2019-12-10"
SPLITS = (("train", 0, 30), ("dev", 100, 4), ("test", 200, 5))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """French into English and English into Chinese, with the faults of tables and audio."""
    root = tmp_path_factory.mktemp("corpus")
    for source, target, sentence, translation in (
        ("fr", "en", "Phrase numéro {}.", "Sentence number {}."),
        ("en", "zh-CN", "Sentence number {}.", "第{}句。"),
    ):
        locale = Locale(root / RELEASE, source, speech=True)
        numbers = [(split, first + n) for split, first, count in SPLITS for n in range(count)]
        rows = [locale.row(n, sentence.format(n)) for _, n in numbers]
        rows += [locale.row(n, sentence.format(n)) for n in (50, 51)]
        rows.append(locale.row(52, sentence.format(52), clip=False))
        locale.table("validated", rows)
        covost_table(
            root / "covost2",
            source,
            target,
            [
                *((str(n), translation.format(n), split) for split, n in numbers),
                ("50", "", "train"),
                ("51", "REMOVE this", "train"),
                ("52", translation.format(52), "train_covost"),
                ("53", translation.format(53), "test"),
            ],
        )
        (locale.clips / f"common_voice_{source}_3.mp3").write_bytes(b"")
    return root


def test_from_the_tables_to_the_scores(corpus, tmp_path):
    recipe = copy_recipe(tmp_path, "covost2")
    options = tiny_options(tmp_path, ["asr", "s2tt", "t2tt"])
    options += ["--directions", "fr-en,en-zh", "--max_bad_share", "0.2"]
    variables = {"COVOST2": corpus / "covost2", "COMMONVOICE4": corpus / RELEASE}
    run_recipe(recipe, *options, **variables)

    expected = []
    for lang, direction in (("fr", "fr-en"), ("en", "en-zh")):
        for number, reason, tasks in (
            (50, "empty translation", ("s2tt", "t2tt")),
            (51, "REMOVE in the translation", ("s2tt", "t2tt")),
            (52, "missing clip", ("asr", "s2tt")),
        ):
            for task in tasks:
                key = lang if task == "asr" else direction
                expected.append((key, task, f"common_voice_{lang}_{number}.mp3", reason))
    assert sorted(dropped(recipe / "data/train")) == sorted(expected)
    bad = (recipe / "dump/raw/org/train/bad_audio.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in bad) == [
        "covost2_en_common_voice_en_3-asr",
        "covost2_en_common_voice_en_3-s2tt-zh",
        "covost2_fr_common_voice_fr_3-asr",
        "covost2_fr_common_voice_fr_3-s2tt-en",
    ]
    corpus_of_test = json.loads((recipe / "data/test/corpus.json").read_text())[0]["languages"]
    assert corpus_of_test["fr-en"]["s2tt"] == {
        "official": 14760,
        "read": 6,
        "kept": 5,
        "dropped": {"not in validated.tsv": 1},
        "cleaned": {},
    }

    table = (recipe / "exp/RESULTS.md").read_text(encoding="utf-8")
    assert "RESULTS: CoVoST 2 (fr-en,en-zh)" in table
    score = json.loads((recipe / "exp/part/decode_greedy/test/score.json").read_text())
    assert set(score["bleu"]) == {"fr-en", "en-zh"}
    assert set(score["wer"]) == {"fr", "en"}


def test_without_the_corpora_it_ends_at_once(tmp_path):
    recipe = copy_recipe(tmp_path, "covost2")
    (tmp_path / "tree/tools/setup.sh").write_text("#!/bin/sh\necho SET UP\n")
    output = run_recipe(recipe, fails=True, COVOST2="", COMMONVOICE4=tmp_path)
    assert "COVOST2 is not set" in output
    assert "https://github.com/facebookresearch/covost" in output
    output = run_recipe(recipe, fails=True, COVOST2=tmp_path, COMMONVOICE4="")
    assert "COMMONVOICE4 is not set" in output
    output = run_recipe(recipe, fails=True, COVOST2=tmp_path, COMMONVOICE4=tmp_path)
    assert "has no covost_v2.<source>_<target>.tsv" in output
    assert "SET UP" not in output
