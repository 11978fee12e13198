"""part.sh: the order of stages, what is done, what is run again, and failures.

The commands of stages 2-10 are stand-ins (see stand_in.py); the launcher,
espnet2.bin.launch, scoring and the report are the real ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from espnet_part.config import load_yaml
from espnet_part.lock import locked
from tests.recipes.stand_in import MODEL, ROOT, TEMPLATE, Recipe, stage

ALL = ["format_data"] * 3 + ["filter_data"] * 2 + ["collect_stats"] * 2
ALL += ["train"] * 3 + ["inference"] * 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Recipe:
    recipe = Recipe(tmp_path_factory.mktemp("recipes") / "my recipe")
    recipe.output = recipe.run("--local_data_opts", "--langs 'en de'")
    recipe.all_calls = recipe.calls()
    return recipe


@pytest.fixture
def recipe(finished, tmp_path) -> Recipe:
    """A copy of the finished recipe."""
    copied = Recipe(tmp_path / "a copy")
    for name in ("data", "dump", "exp"):
        shutil.copytree(finished.directory / name, copied.directory / name)
    return copied


OPTIONS = ("--local_data_opts", "--langs 'en de'")


def test_all_stages(finished):
    assert [name.removeprefix("part_") for name, _ in finished.all_calls] == ALL
    assert (finished.directory / "data_calls").read_text() == "data --langs en de\n"
    trainings = [options for name, options in finished.all_calls if name == "part_train"]
    exp = "exp/my system"
    assert [t["--output_dir"] for t in trainings] == [f"{exp}/stage{n}" for n in (1, 2, 3)]
    assert [t["--config"] for t in trainings] == [
        f"conf/my system/stage{n}.yaml" for n in (1, 2, 3)
    ]
    assert "--part_init" not in trainings[0]
    formatted = [options for name, options in finished.all_calls if name == "part_format_data"]
    assert all("--fs" not in options for options in formatted)  # training reads 16 kHz only
    for n in (1, 2):
        assert trainings[n]["--part_init"] == f"{exp}/stage{n}/valid.acc.ave.safetensors"
    assert all(t["--resume"] == "true" and t["--seed"] == "0" for t in trainings)
    assert "| the mixture |" in finished.output
    assert "Successfully finished" in finished.output

    results = json.loads((finished.directory / "exp/results.json").read_text())
    assert results["wer"] == {"de": 0.0}
    assert [stage["stage"] for stage in results["stages"]] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    noted = (finished.directory / "exp/.done/report").read_text().splitlines()
    assert noted[3:] == [
        "train=data/train,dump/raw/org/train,dump/raw/train",
        "dev=data/dev,dump/raw/org/dev,dump/raw/dev",
        "test2=data/test2,dump/raw/test2",
    ]
    page = (finished.directory / "exp/report.html").read_text()
    assert page.count("<section id=") == 10 and '<th scope="row">test2</th>' in page
    decoded = (finished.directory / exp / "decode_greedy/test2/text").read_text()
    assert [line.split()[0] for line in decoded.splitlines()] == [f"u{n}-asr" for n in range(1, 6)]
    assert "# Ended (code 0)" in (finished.directory / exp / "stage2/train.log").read_text()


def test_second_call_does_nothing(recipe):
    output = recipe.run(*OPTIONS)
    assert recipe.names() == []
    assert output.count("already done") == 10
    assert "stages that were done already: 1 2 3 4 5 7 8 9 10 11" in output
    assert "exp/RESULTS.md" in output


def test_stage_given_runs_again_and_keeps_the_old_training(recipe):
    recipe.run(*OPTIONS, "--stage", "8", "--stop_stage", "8")
    assert recipe.names() == ["train"]
    assert len(list((recipe.directory / "exp/my system").glob("stage2.old.*/started0"))) == 1
    # what came of the old one is made anew
    recipe.run(*OPTIONS)
    assert recipe.names() == ["train", "inference", "inference"]


def test_changed_configuration_runs_what_depends_on_it(recipe):
    (recipe.directory / "conf/my system/stage3.yaml").write_text(stage(11))
    recipe.run(*OPTIONS)
    assert recipe.names() == ["train", "inference", "inference"]
    recipe.run(*OPTIONS, "--inference_args", "--beam_size 4")
    calls = recipe.calls()
    assert [name for name, _ in calls] == ["part_inference"] * 2
    assert calls[0][1]["--beam_size"] == "4"
    eval_again = ("--inference_args", "--beam_size 4", "--skip_eval", "true")
    # a filter that leaves the same examples changes nothing after it
    recipe.run(*OPTIONS, *eval_again, "--max_wav_duration", "20")
    assert recipe.names() == ["filter_data"] * 2
    recipe.run(*OPTIONS, *eval_again, "--max_text_chars", "1")
    assert recipe.names() == ["filter_data"] * 2 + ["collect_stats"] * 2 + ["train"] * 3


def test_failure_names_the_log_and_the_same_command_goes_on(recipe):
    (recipe.directory / "conf/my system/stage2.yaml").write_text(stage(12))
    (recipe.directory / "broken").write_text("part_train")
    output = recipe.run(*OPTIONS, fails=True)
    assert "this cannot work" in output
    assert "stage 8 (PART stage 2) failed; see exp/my system/stage2/train.log" in output
    assert recipe.names() == ["train"]
    (recipe.directory / "broken").unlink()
    output = recipe.run(*OPTIONS)
    assert "going on with the interrupted training in exp/my system/stage2" in output
    assert recipe.names() == ["train", "train", "inference", "inference"]
    # the earlier, finished training was moved aside once, and the interrupted one was not
    assert len(list((recipe.directory / "exp/my system").glob("stage2.old.*"))) == 1


def test_a_training_is_the_same_on_any_number_of_gpus(recipe):
    """An interrupted one goes on there, and a finished one is done; how many are used is told."""
    (recipe.directory / "conf/my system/stage2.yaml").write_text(stage(12))
    (recipe.directory / "broken").write_text("part_train")
    recipe.run(*OPTIONS, fails=True)
    (recipe.directory / "broken").unlink()
    begun = recipe.directory / "exp/my system/.done/stage8.begun"
    assert begun.is_file()
    recipe.calls()
    other = ("--ngpu", "2", "--num_threads", "3", "--nj", "3", "--inference_nj", "1")
    other += ("--part_args", "--max_bins_per_gpu 100 --num_workers 2")
    output = recipe.run(*OPTIONS, *other, "--stop_stage", "9")
    assert "going on with the interrupted training in exp/my system/stage2" in output
    calls = recipe.calls()
    assert [name for name, _ in calls] == ["part_train", "part_train"]
    assert [options["--ngpu"] for _, options in calls] == ["2", "2"]
    assert calls[0][1]["--output_dir"] == "exp/my system/stage2"
    assert "Stage 8: PART stage 2: already done" in recipe.run(*OPTIONS, "--stop_stage", "9")
    assert recipe.calls() == []


def test_token_counts_of_stage_5_serve_the_trainings(recipe, finished):
    stats = "exp/part_stats_model"
    for name, options in finished.all_calls:
        if name == "part_train":
            assert options["--train_shape_file"] == f"{stats}/train/text_tokens"
            assert options["--valid_shape_file"] == f"{stats}/dev/text_tokens"
    recipe.run(*OPTIONS, "--stage", "5", "--stop_stage", "5")
    assert recipe.names() == ["collect_stats"] * 2
    recipe.run(*OPTIONS)
    assert recipe.names() == []  # counted again, they are the same


def test_interrupted_second_decoding_goes_on(recipe):
    """One that is asked for again begins anew, but only once."""
    logdir = recipe.directory / "exp/my system/decode_greedy/test2/logdir"
    for options in (["--stage", "10"], ["--inference_args", "--beam_size 4"]):
        (logdir / "old").touch()
        (recipe.directory / "broken").write_text("part_inference")
        recipe.run(*OPTIONS, *options, fails=True)
        assert not (logdir / "old").exists()
        (logdir / "decoded").touch()
        recipe.run(*OPTIONS, *options, fails=True)
        (recipe.directory / "broken").unlink()
        recipe.run(*OPTIONS, *options)
        assert (logdir / "decoded").exists()


def test_failed_shard_is_named(recipe):
    (recipe.directory / "broken").write_text("part_inference")
    output = recipe.run(*OPTIONS, "--stage", "10", fails=True)
    assert "run.pl: 2 / 2 failed" in output
    assert "stage 10" in output
    assert "inference.1.log" in output


def test_baseline_of_two_stages(recipe):
    baseline = recipe.directory / "conf/baseline"
    baseline.mkdir()
    for n in (1, 3):
        (baseline / f"stage{n}.yaml").write_text(stage(10))
    options = (
        "--part_config",
        "conf/baseline",
        "--main_tag",
        "my system",
        "--skip_data_prep",
        "true",
    )
    output = recipe.run(*options)
    calls = recipe.calls()
    assert [name for name, _ in calls] == ["part_train"] * 2 + ["part_inference"] * 2
    assert calls[1][1]["--part_init"] == "exp/baseline/stage1/valid.acc.ave.safetensors"
    assert "PART stage 2: not part of conf/baseline" in output
    results = json.loads((recipe.directory / "exp/results.json").read_text())
    assert list(results["systems"]) == ["my system", "baseline"]


def test_two_test_sets(recipe):
    recipe.run(*OPTIONS, "--test_sets", "test2 test3")
    calls = recipe.calls()
    # what was made for the first one stays
    assert [name for name, _ in calls] == ["part_format_data"] + ["part_inference"] * 2
    logdir = "exp/my system/decode_greedy/test3/logdir"
    assert sorted(o["--key_file"] for _, o in calls[1:]) == [
        f"{logdir}/keys.{n}.scp" for n in (1, 2)
    ]
    results = json.loads((recipe.directory / "exp/results.json").read_text())
    assert list(results["systems"]["my system"]["sets"]) == ["test2", "test3"]


def test_cached_features_serve_the_first_stage_only(recipe):
    recipe.run(*OPTIONS, "--cache_features", "true", "--part_args", "--wandb_name 'two words'")
    calls = recipe.calls()
    expected = ["extract_features"] * 2 + ["train"] * 3 + ["inference"] * 2
    assert [name.removeprefix("part_") for name, _ in calls] == expected
    feats = [options.get("--train_feats_dir") for name, options in calls if name == "part_train"]
    assert feats == ["dump/encoder_model/train", None, None]
    assert calls[2][1]["--wandb_name"] == "two words"


@pytest.mark.parametrize("name", ["RESULTS.md", "report.html"])
def test_a_report_that_was_not_written_comes(recipe, name):
    (recipe.directory / "exp" / name).unlink()  # as after a kill between scoring and report
    output = recipe.run(*OPTIONS)
    assert recipe.names() == []
    assert "Stage 11: scoring: already done" in output
    assert (recipe.directory / "exp" / name).is_file()


def test_a_report_that_fails_is_told_in_a_line(recipe):
    (recipe.directory / "exp/RESULTS.md").unlink()
    (recipe.directory / "exp/my system/decode_greedy/test2/score.json").write_text("{")
    output = recipe.run(*OPTIONS, fails=True)
    assert "stage 11 (report) failed" in output
    assert "Traceback" not in output


def test_weights_without_a_marker_are_known_by_their_content(recipe):
    """As of a training that part_train did by itself, or that was copied from elsewhere."""
    for marker in (recipe.directory / "exp/my system/.done").glob("stage[789]"):
        marker.unlink()
    options = (*OPTIONS, "--skip_train", "true")
    recipe.run(*options)
    recipe.calls()
    recipe.run(*options)
    assert recipe.names() == []
    (recipe.directory / "exp/my system/stage3/valid.acc.ave.safetensors").write_text("others")
    recipe.run(*options)
    assert recipe.names() == ["inference", "inference"]


def test_a_base_model_that_was_made_anew_or_is_gone_is_seen(recipe):
    llm = recipe.directory / "exp/llm"
    recipe.script(
        recipe.directory / "local/base_models.sh",
        "#!/usr/bin/env bash\nmkdir -p exp/llm && echo {} >exp/llm/config.json\n",
    )
    model = MODEL.replace("{config: {model_type: qwen2}, tokenizer: t}", "{name: exp/llm}")
    (recipe.directory / "conf/model.yaml").write_text(model)
    before = (*OPTIONS, "--stop_stage", "5")
    assert "already done" in recipe.run(*before)
    recipe.calls()
    recipe.run(*before)
    assert recipe.names() == []
    (llm / "config.json").write_text('{"a": 1}')  # trained further, say
    recipe.run(*before)
    assert recipe.names() == ["collect_stats"] * 2
    shutil.rmtree(llm)
    recipe.run(*before)
    assert (llm / "config.json").is_file()


def test_features_of_other_audio_are_not_taken(recipe):
    cached = (*OPTIONS, "--cache_features", "true")
    recipe.run(*cached, "--stop_stage", "6")
    with (recipe.directory / "data/train/text").open("a") as text:
        text.write("u6-asr noch ein Tag\n")
    (recipe.directory / "local/data.sh").write_text("#!/bin/sh\n")
    recipe.run(*cached, "--stage", "1", "--stop_stage", "3")
    recipe.calls()
    output = recipe.run(*cached, "--stage", "7", "--stop_stage", "7", fails=True)
    assert "run stage 6 first" in output
    assert recipe.names() == []


def test_run_script_of_a_training_repeats_it(recipe):
    script = recipe.directory / "exp/my system/stage1/run.sh"
    assert "--stage 7 --stop_stage 7" in script.read_text()
    assert "--local_data_opts" in script.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part_config", "nowhere"], "--part_config nowhere: no such directory"),
        (["--part_config", "local"], "has none of stage1.yaml"),
        (["--model_config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--nj", "0"], "--nj must be at least 1"),
        (["--stage", "one"], "--stage must be a number: one"),
        (["--stage", "13"], "--stage 13: there are stages 1 to 12, see --help"),
        (["--stage", "5", "--stop_stage", "3"], "--stop_stage 3 lies before --stage 5"),
        (["--stop_stage", "0"], "--stop_stage 0 lies before the first stage"),
        (["--python", "no-python"], "no such command"),
        (["stage"], "no positional arguments"),
    ],
)
def test_wrong_options_end_before_anything_runs(tmp_path, options, message):
    recipe = Recipe(tmp_path / "r")
    output = recipe.run(*options, fails=True)
    assert message in output
    assert recipe.names() == []
    assert not (recipe.directory / "exp").exists()


def test_all_files_are_checked_before_stage_1(tmp_path):
    """A wrong key in any of them is told at once, not after the days that come before it."""
    recipe = Recipe(tmp_path / "r")
    conf = recipe.directory / "conf"
    (conf / "my system/stage3.yaml").write_text("accum_gradd: 2\n" + stage(10))
    (conf / "model.yaml").write_text(MODEL + "lora_konf: {}\n")
    (conf / "decode.yaml").write_text("beam_sise: 2\n")
    (conf / "score.yaml").write_text("normaliser: none\n")
    output = recipe.run("--decode_config", "conf/decode.yaml", "--audio_format", "mp3", fails=True)
    for said in (
        "conf/my system/stage3.yaml: unknown key `accum_gradd`; did you mean `accum_grad`?",
        "conf/model.yaml: unknown key `lora_konf`; did you mean `lora_conf`?",
        "conf/decode.yaml: unknown key `beam_sise`; did you mean `beam_size`?",
        "conf/score.yaml: unknown key `normaliser`; did you mean `normalizer`?",
        "--audio_format must be flac, wav or copy: mp3",
    ):
        assert f"part.sh: error: {said}\n" in output
    assert not (recipe.directory / "data").exists()


def test_missing_launcher(tmp_path):
    recipe = Recipe(tmp_path / "r")
    (recipe.directory / "cmd.sh").unlink()
    text = (TEMPLATE / "cmd.sh").read_text()
    (recipe.directory / "cmd.sh").write_text(text.replace("run.pl", "absent.pl"))
    assert "absent.pl, which is not on PATH" in recipe.run(fails=True)


def test_launchers_of_an_espnet_checkout_come_first(tmp_path, monkeypatch):
    recipe = Recipe(tmp_path / "r")
    utils = tmp_path / "espnet/utils"
    utils.mkdir(parents=True)
    run = TEMPLATE / "utils/run.pl"
    recipe.script(utils / "run.pl", f'#!/bin/sh\necho "$1" >> {tmp_path}/used\nexec {run} "$@"\n')
    monkeypatch.setenv("MAIN_ROOT", str(tmp_path / "espnet"))
    recipe.run("--stop_stage", "2")
    assert (tmp_path / "used").read_text().splitlines() == ["--num_threads"] * 3


def test_two_runs_at_once_are_refused(recipe):
    with locked(recipe.directory / "exp/my system/.lock", "the training"):
        output = recipe.run(*OPTIONS, fails=True)
    assert "exp/my system: another process is at work there" in output
    assert f"stop it with: kill {os.getpid()}" in output


def test_new_recipe_directory(tmp_path):
    # the links depend on the places in the tree, so this works on a copy of what matters
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(TEMPLATE, tmp_path / "egs2/TEMPLATE/part", symlinks=True)
    setup = tmp_path / "egs2/TEMPLATE/part/setup.sh"

    def make(place: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(setup), place], cwd=tmp_path, capture_output=True, text=True)

    assert make("egs2/new/part").returncode == 0
    recipe = tmp_path / "egs2/new/part"
    for name in (
        "part.sh",
        "baseline.sh",
        "path.sh",
        "db.sh",
        "cmd.sh",
        "utils/run.pl",
        "run.sh",
        "local/data.sh",
    ):
        assert (recipe / name).is_file(), name
    (recipe / "conf/part/stage2.yaml").write_text(
        "base: ../system/part/stage2.yaml\nphases: {encoder_top: {steps: 2}, encoder_all: {steps: 3}}\n"
    )
    (phase,) = load_yaml(recipe / "conf/no_progressive/stage2.yaml")["phases"]
    assert (phase["name"], phase["steps"]) == ("encoder_all", 5)
    assert (recipe / "conf/baseline_espnet/train_asr.yaml").is_file()

    (recipe / "run.sh").write_text("mine")
    assert make("egs2/new/part").returncode == 0
    assert (recipe / "run.sh").read_text() == "mine"
    before = sorted(tmp_path.rglob("*"))
    for wrong in ("elsewhere", "egs2/part", "egs2/new/deeper/part", "elsewhere/new/part"):
        refused = make(wrong)
        assert refused.returncode == 2
        assert "beside the template" in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before  # nothing is made before it is refused


def test_help():
    shown = subprocess.run(
        [str(TEMPLATE / "part.sh"), "--help"], capture_output=True, text=True, cwd=TEMPLATE
    )
    assert shown.returncode == 0
    for option in (
        "--stage",
        "--skip_train",
        "--cache_features",
        "--gpu_inference",
        "--part_config",
    ):
        assert option in shown.stdout
