"""run.sh of the FLEURS recipe, from the corpus' own layout to RESULTS.md, with tiny models."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.corpora.tiny_fleurs import write_fleurs
from tests.recipes.tiny import copy_recipe, environment, run_recipe, tiny_options

pytestmark = pytest.mark.recipe


def test_from_stage_1_to_scoring(tmp_path):
    corpus = write_fleurs(tmp_path / "corpus with a space")
    recipe = copy_recipe(tmp_path, "fleurs")
    options = [
        *tiny_options(tmp_path, ["asr", "s2tt", "t2tt"]),
        *("--langs", "de,en,fr", "--directions", "en,de-fr"),
        *("--train_text_normalizer", "lower_no_punctuation"),
        *("--speed_perturb_factors", "1.0 1.1"),
    ]
    output = run_recipe(recipe, *options, FLEURS=corpus)
    for stage in (1, 2, 3, 4, 5, 7, 10, 11):
        assert f" Stage {stage}: " in output
    assert "Successfully finished" in output

    # the account is on the screen, and names what was left out
    assert "| train | de       | asr  |     2987 |   10 |    5 | 5 (" in output
    rows = (recipe / "data/train/dropped.tsv").read_text().splitlines()
    assert "train\tde\tasr\t105.wav\tmissing clip\t" in rows

    # transcripts are normalised for training, and references are not
    train = dict(
        line.split(" ", 1) for line in (recipe / "dump/raw/train/text").read_text().splitlines()
    )
    assert train["fleurs_de_train_101-asr"] == "er sagte guten tag"
    assert train["sp1.1-fleurs_de_train_101-asr"] == "er sagte guten tag"
    assert train["fleurs_de_train_101-s2tt-en"] == 'He said: "Good day!'
    assert (recipe / "dump/raw/train/text_normalizer").read_text() == "lower_no_punctuation\n"
    assert "Ein Satz zum Prüfen." in (recipe / "dump/raw/test/text").read_text()

    results = json.loads((recipe / "exp/results.json").read_text())
    assert set(results["wer"]) == {"de", "en", "fr"}
    assert set(results["bleu"]) == {"de-en", "en-de", "en-fr", "fr-en", "de-fr"}
    report = (recipe / "exp/RESULTS.md").read_text()
    assert "RESULTS: FLEURS (de,en,fr)" in report
    decoded = (recipe / "exp/part/decode_greedy/test/text").read_text().splitlines()
    assert len(decoded) == len((recipe / "data/test/text").read_text().splitlines()) == 5 + 7

    again = run_recipe(recipe, *options, FLEURS=corpus)
    assert "stages that were done already: 1 2 3 4 5 7 10 11" in again


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "FLEURS is not set"),
        ("nowhere", "nowhere: no such directory"),
        ("empty", "empty: has no language"),
    ],
)
def test_a_wrong_corpus_is_found_before_the_set_up(tmp_path, value, message):
    recipe = copy_recipe(tmp_path, "fleurs")
    (tmp_path / "empty").mkdir()
    setup = tmp_path / "tree/tools/setup.sh"
    setup.write_text("#!/usr/bin/env bash\necho set-up\n")
    corpus = str(tmp_path / value) if value else ""
    output = run_recipe(recipe, fails=True, FLEURS=corpus)
    assert message in output
    assert "set-up" not in output


def test_a_relative_path_is_relative_to_where_the_command_is_typed(tmp_path):
    recipe = copy_recipe(tmp_path, "fleurs")
    done = subprocess.run(
        [str(recipe / "run.sh")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(FLEURS="somewhere"),
    )
    assert done.returncode == 1
    assert f"FLEURS={tmp_path}/somewhere: no such directory" in done.stderr


def test_help_needs_no_corpus(tmp_path):
    output = run_recipe(copy_recipe(tmp_path, "fleurs"), "--help", FLEURS="")
    assert "--directions" in output
    assert "--train_text_normalizer" in output
