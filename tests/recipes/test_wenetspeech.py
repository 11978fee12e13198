"""run.sh of the WenetSpeech recipe, from the corpus' own layout to RESULTS.md, with tiny models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from espnet_part.config import load_yaml
from tests.corpora.tiny_wenetspeech import CUT, LONG, write_wenetspeech
from tests.recipes.tiny import copy_recipe, run_recipe, tiny_options

ROOT = Path(__file__).parents[2]
CONF = ROOT / "egs2/wenetspeech/part/conf/part"

pytestmark = pytest.mark.recipe


def test_from_stage_1_to_scoring(tmp_path):
    corpus = write_wenetspeech(tmp_path / "corpus")
    recipe = copy_recipe(tmp_path, "wenetspeech")
    options = [*tiny_options(tmp_path, ["asr"]), "--subset", "L", "--max_bad_share", "0.5"]
    output = run_recipe(recipe, *options, WENETSPEECH=corpus)
    for stage in (1, 2, 3, 4, 5, 7, 10, 11):
        assert f" Stage {stage}: " in output
    assert "Successfully finished" in output
    assert "train: subset L" in output

    # stage 1 names what the metadata give away, stage 2 what the files do
    dropped = (recipe / "data/train/dropped.tsv").read_text()
    assert "missing audio" in dropped
    assert "beyond the end of the recording" in dropped
    bad = (recipe / "dump/raw/org/train/bad_audio.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in bad} == {
        f"wenetspeech_{LONG}_S00001-asr",
        f"wenetspeech_{CUT}_S00000-asr",
    }
    assert len((recipe / "dump/raw/train/segments").read_text().splitlines()) == 7

    report = (recipe / "exp/RESULTS.md").read_text()
    assert "RESULTS: WenetSpeech, subset L" in report
    for name, count in (("test_net", 2), ("test_meeting", 1)):
        directory = recipe / "exp/part/decode_greedy" / name
        assert len((directory / "text").read_text().splitlines()) == count
        score = json.loads((directory / "score.json").read_text())
        assert set(score["wer"]) == {"zh"}

    again = run_recipe(recipe, *options, WENETSPEECH=corpus)
    assert "stages that were done already: 1 2 3 4 5 7 10 11" in again


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (None, "WENETSPEECH is not set"),
        (".", "no such directory"),
        ("WenetSpeech.json", "WenetSpeech.json"),
        ("audio/dev", "audio/dev"),
    ],
)
def test_a_wrong_corpus_is_found_before_the_set_up(tmp_path, missing, message):
    recipe = copy_recipe(tmp_path, "wenetspeech")
    setup = tmp_path / "tree/tools/setup.sh"
    setup.write_text("#!/usr/bin/env bash\necho set-up\n")
    corpus = write_wenetspeech(tmp_path / "corpus")
    if missing is not None:
        place = corpus / missing
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    variable = "" if missing is None else corpus
    output = run_recipe(recipe, fails=True, WENETSPEECH=variable)
    assert message in output
    assert "set-up" not in output


def test_the_schedule_recognises_speech_only():
    for n in (1, 2, 3):
        for phase in load_yaml(CONF / f"stage{n}.yaml")["phases"]:
            assert phase["tasks"] == ["asr"]
