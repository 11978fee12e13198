"""run.sh of the mixture: four corpora in their own layouts, all three stages, with tiny models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from espnet_part.config import load_yaml
from espnet_part.stage_file import read_schedule
from tests.corpora.make import RELEASE, Locale, covost_table
from tests.corpora.tiny_fleurs import write_fleurs
from tests.corpora.tiny_wenetspeech import write_wenetspeech
from tests.recipes.tiny import copy_recipe, run_recipe, tiny_options
from tests.train import tiny as tiny_training

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs2/multilingual/part"
CV4 = "cv-corpus-4-2019-12-10"
ALL = ("COMMONVOICE", "COMMONVOICE4", "FLEURS", "WENETSPEECH", "COVOST2")
#: None of the machine's own corpora.
NONE = dict.fromkeys(ALL, "")

pytestmark = pytest.mark.recipe


def write_common_voice(root: Path) -> Path:
    """Release 15: French and English; clip 8 of its French training is CoVoST 2's test."""
    for name, sentence in (("fr", "Une phrase."), ("en", "A sentence.")):
        locale = Locale(root / RELEASE, name, speech=True)
        locale.table("train", [locale.row(n, sentence) for n in (1, 2, 8)])
        locale.table("dev", [locale.row(n, sentence) for n in (31, 32, 33)])
        locale.table("test", [locale.row(n, sentence) for n in (41, 42)])
    return root / RELEASE


def write_covost2(root: Path) -> tuple[Path, Path]:
    """French into English; training clip 41 is in release 15's test set."""
    locale = Locale(root / CV4, "fr", speech=True)
    locale.table("validated", [locale.row(n, "Une phrase.") for n in (1, 2, 8, 9, 41)])
    rows = [
        ("1", "A sentence.", "train"),
        ("2", "Some sentence.", "train"),
        ("41", "A leak.", "train"),
        ("8", "One sentence.", "test"),
        ("9", "That sentence.", "dev"),
    ]
    covost_table(root / "covost2", "fr", "en", rows)
    return root / "covost2", root / CV4


def three_stages(root: Path) -> Path:
    """A directory with PART's three stages of two steps each."""
    directory = root / "tiny"
    directory.mkdir()
    options = {"num_iters_per_epoch": 2, "keep_nbest_models": 1, "batch_size": 6}
    phases = (tiny_training.ADAPTER, tiny_training.TOP, tiny_training.JOINT)
    for number, phase in enumerate(phases, 1):
        content = tiny_training.stage([{**phase, "steps": 2}], **options)
        (directory / f"stage{number}.yaml").write_text(yaml.safe_dump(content))
    return directory


def ids(table: Path) -> list[str]:
    return [line.split()[0] for line in table.read_text().splitlines()]


def test_from_stage_1_to_a_table_of_each_benchmark(tmp_path: Path) -> None:
    covost2, release4 = write_covost2(tmp_path / "corpora")
    corpora = {
        "COMMONVOICE": write_common_voice(tmp_path / "corpora"),
        "COMMONVOICE4": release4,
        "COVOST2": covost2,
        "FLEURS": write_fleurs(tmp_path / "corpora/fleurs with a space"),
        "WENETSPEECH": write_wenetspeech(tmp_path / "corpora/wenetspeech"),
    }
    recipe = copy_recipe(tmp_path, "multilingual")
    options = [
        *tiny_options(tmp_path, ["asr"]),
        *("--part_config", str(three_stages(tmp_path))),
        *("--langs", "de,en,fr", "--max_bad_share", "0.5"),
        "--data_opts",
        "--max_dev_examples 2 --commonvoice_opts '--langs en,fr' "
        "--covost2_opts '--directions fr-en --test_tasks s2tt'",
    ]
    output = run_recipe(recipe, *options, **corpora)
    for stage in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11):
        assert f" Stage {stage}: " in output
    assert "Successfully finished" in output
    assert "LEFT OUT" not in output

    # all corpora are in the mixture, without the clips that other test sets hold
    train = ids(recipe / "data/train/utt2task")
    assert {utt.split("_")[0] for utt in train} == {"cv", "fleurs", "wenetspeech", "covost2"}
    assert "cv_fr_common_voice_fr_2-asr" in train
    assert "cv_fr_common_voice_fr_8-asr" not in train
    assert "covost2_fr_common_voice_fr_2-s2tt-en" in train
    assert not [utt for utt in train if utt.startswith("covost2_fr_common_voice_fr_41")]
    tasks = {
        (utt.split("_")[0], utt.split("-")[-2 if utt[-3] == "-" else -1])
        for utt in train
        if not utt.startswith("wenetspeech")
    }
    assert {
        ("fleurs", "s2tt"),
        ("fleurs", "t2tt"),
        ("covost2", "s2tt"),
        ("covost2", "t2tt"),
    } <= tasks
    said = json.loads((recipe / "data/train/corpus.json").read_text())
    assert len({entry["corpus"] for entry in said}) == 4
    reasons = (recipe / "data/train/dropped.tsv").read_text()
    assert "common_voice_fr_8.mp3" in reasons
    assert "common_voice_fr_41.mp3" in reasons
    dev = ids(recipe / "data/dev/utt2task")
    assert len([utt for utt in dev if utt.startswith("cv_fr")]) == 2  # of 3

    report = (recipe / "exp/RESULTS.md").read_text()
    assert "RESULTS: commonvoice fleurs wenetspeech covost2 (de,en,fr)" in report
    scores = {}
    for name in (
        "commonvoice_test",
        "fleurs_test",
        "wenetspeech_test_net",
        "wenetspeech_test_meeting",
        "covost2_test",
    ):
        assert name in report
        file = recipe / "exp/tiny/decode_greedy" / name / "score.json"
        scores[name] = json.loads(file.read_text())
    assert set(scores["commonvoice_test"]["wer"]) == {"en", "fr"}
    assert set(scores["fleurs_test"]["wer"]) == {"de", "en", "fr"}
    assert set(scores["fleurs_test"]["bleu"]) == {"de-en", "en-de", "en-fr", "fr-en"}
    assert set(scores["wenetspeech_test_net"]["wer"]) == {"zh"}
    assert set(scores["covost2_test"]["bleu"]) == {"fr-en"}
    assert RELEASE in report

    again = run_recipe(recipe, *options, **corpora)
    assert "stages that were done already: 1 2 3 4 5 7 8 9 10 11" in again
    # another directory is other data
    moved = {**corpora, "COMMONVOICE4": tmp_path / "moved here" / CV4}
    shutil.copytree(release4, moved["COMMONVOICE4"])
    another = run_recipe(recipe, *options, "--stop_stage", "1", **moved)
    assert "Stage 1: data preparation\n" in another
    assert "/moved here/" in (recipe / "data/corpora/covost2/train/wav.scp").read_text()


def test_a_corpus_that_is_not_set_is_left_out_loudly(tmp_path: Path) -> None:
    recipe = copy_recipe(tmp_path, "multilingual")
    (recipe / "conf/part_asr/stage2.yaml").write_text(  # of which the tiny encoder has not eight
        "base: ../part/stage2.yaml\n"
        "phases: {encoder_top: {train: [adapter, 'encoder.layers[-1:]']}}\n"
    )
    corpora = {**NONE, "COMMONVOICE": write_common_voice(tmp_path / "corpora")}
    options = [*tiny_options(tmp_path, ["asr"])[:2], "--langs", "fr", "--stop_stage", "1"]
    output = run_recipe(recipe, *options, "--ngpu", "0", **corpora)
    assert "LEFT OUT of training and of the results" in output
    for name in ("fleurs (FLEURS)", "wenetspeech (WENETSPEECH)", "covost2 (COVOST2)"):
        assert f"  {name}\n" in output
    assert "no translation, and no third stage" in output
    made = {path.name for path in (recipe / "data").iterdir()}
    assert made == {"corpora", "train", "dev", "commonvoice_test"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "no corpus is set"),
        ({"FLEURS": "nowhere"}, "FLEURS={root}/nowhere: no such directory"),
        ({"COVOST2": "here"}, "COMMONVOICE4 is not set"),
    ],
)
def test_a_wrong_corpus_is_found_before_the_set_up(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    recipe = copy_recipe(tmp_path, "multilingual")
    (tmp_path / "tree/tools/setup.sh").write_text("#!/usr/bin/env bash\necho set-up\n")
    (tmp_path / "here").mkdir()
    paths = {name: str(tmp_path / value) for name, value in variables.items()}
    output = run_recipe(recipe, fails=True, **{**NONE, **paths})
    assert message.format(root=tmp_path) in output
    assert "set-up" not in output


def test_the_size_sets_the_model_and_the_gpus(tmp_path: Path) -> None:
    """The step is that of the stage files on any number of GPUs."""
    recipe = copy_recipe(tmp_path, "multilingual")
    (recipe / "part.sh").unlink()
    (recipe / "part.sh").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    (recipe / "part.sh").chmod(0o755)
    (tmp_path / "tree/tools/setup.sh").write_text("#!/usr/bin/env bash\n")
    (tmp_path / "fleurs").mkdir()
    variables = {**NONE, "FLEURS": tmp_path / "fleurs"}

    def passed(*options: str) -> dict[str, str]:
        lines = run_recipe(recipe, *options, **variables).splitlines()
        start = lines.index("--train_set")
        return dict(zip(lines[start::2], lines[start + 1 :: 2], strict=False))

    large = passed()
    assert large["--model_config"] == "conf/model/whisper_large_v3_qwen2.5_1.5b.yaml"
    assert "--part_args" not in large
    assert (large["--ngpu"], large["--part_config"]) == ("8", "conf/part")
    assert large["--test_sets"] == "fleurs_test"
    eight = passed("--size", "8b", "--num_nodes", "2")
    assert eight["--model_config"] == "conf/model/whisper_large_v3_qwen2.5_7b.yaml"
    assert (eight["--ngpu"], eight["--num_nodes"]) == ("8", "2")
    small = passed("--size", "24gb")
    assert small["--model_config"] == "conf/model/whisper_small_qwen2.5_0.5b.yaml"
    assert small["--ngpu"] == "1"
    assert "must be 2b, 8b or 24gb" in run_recipe(recipe, "--size", "9b", fails=True, **variables)


def test_the_schedules_flatten_the_languages() -> None:
    for n in (1, 2, 3):
        schedule = read_schedule(str(RECIPE / f"conf/part/stage{n}.yaml"))
        assert {phase.language_temperature for phase in schedule.phases} == {2.0}
    for n in (1, 2):
        own, alone = (
            load_yaml(RECIPE / f"conf/{name}/stage{n}.yaml") for name in ("part", "part_asr")
        )
        assert own == alone
