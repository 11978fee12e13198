"""run.sh of the embedded recipe on little data and few steps: every stage, twice, and a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from espnet_part.config import load_yaml
from tests.recipes.tiny import copy_recipe

ROOT = Path(__file__).parents[2]
MINI = "egs2/mini_multilingual/part"
SETUP = "../../../tools/setup.sh"
TINY = ["--langs", "en de", "--cache_features", "true", "--num_threads", "1"]
TINY += ["--data_opts"]
TINY += ["--train_clips 12 --dev_clips 4 --test_clips 4 --text_pairs 12 --encoder_clips 16"]
TINY += ["--base_opts", "--encoder_steps 4 --llm_steps 4"]
# models that have learnt nothing babble until they are stopped
TINY += ["--inference_args", "--max_new_tokens 8", "--inference_batch_size", "32"]

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe in a tree of its own, its stage files cut to a few steps."""
    tree = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("data", "dump", "exp", "downloads", "logs", "__pycache__")
    shutil.copytree(ROOT / "egs2/TEMPLATE", tree / "egs2/TEMPLATE", symlinks=True)
    shutil.copytree(ROOT / MINI, tree / MINI, symlinks=True, ignore=ignored)
    shutil.copytree(ROOT / "conf", tree / "conf")
    (tree / "tools").mkdir()
    for name, run in (("setup.sh", 'exec "{}" "$@"'), ("env.sh", '. "{}"')):
        script = tree / "tools" / name
        script.write_text("#!/usr/bin/env bash\n" + run.format(ROOT / "tools" / name) + "\n")
        script.chmod(0o755)
    for path in sorted((tree / MINI / "conf/part").glob("stage*.yaml")):
        stage = load_yaml(path)
        for phase in stage["phases"]:
            phase["steps"] = 8
        stage |= {"batch_size": 4, "num_iters_per_epoch": 4, "save_interval": 2, "log_interval": 2}
        path.write_text(yaml.safe_dump(stage))
    return tree / MINI


def environment() -> dict[str, str]:
    own = {"VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


def run(recipe: Path, *options: str) -> str:
    done = subprocess.run(
        [str(recipe / "run.sh"), *TINY, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=900,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def first(recipe: Path) -> str:
    """What the first run prints; it is killed once in the middle of stage 8."""
    printed = recipe / "first.log"
    with printed.open("w") as file:
        running = subprocess.Popen(
            [str(recipe / "run.sh"), *TINY],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
        )
    deadline = time.monotonic() + 600
    checkpoints = recipe / "exp/part/stage2"
    while running.poll() is None and time.monotonic() < deadline:
        if (checkpoints / "latest.safetensors").exists():
            break
        time.sleep(0.05)
    finished = running.poll() is not None
    if not finished:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert not finished, printed.read_text()[-6000:]
    assert not (checkpoints / "valid.acc.ave.safetensors").exists()
    return printed.read_text() + run(recipe)


def test_every_stage_and_a_kill_in_stage_8(recipe, first):
    for stage in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11):
        assert f" Stage {stage}: " in first
    assert "going on with the interrupted training in exp/part/stage2" in first
    assert "Successfully finished" in first

    results = json.loads((recipe / "exp/results.json").read_text())
    assert set(results["wer"]) == {"de", "en"}
    assert set(results["bleu"]) == {"de-en", "en-de"}
    assert [stage["stage"] for stage in results["stages"]] == list(range(1, 12))
    assert list(results["systems"]) == ["part"]
    assert (recipe / "exp/RESULTS.md").read_text() in first
    assert list((recipe / "exp/figures").glob("*.png"))

    exp = recipe / "exp/part"
    for n in (1, 2, 3):
        assert (exp / f"stage{n}/valid.acc.ave.safetensors").exists()
        assert (exp / f"stage{n}/config.yaml").is_file()
        assert (exp / f"stage{n}/run.sh").is_file()
        assert "# Ended (code 0)" in (exp / f"stage{n}/train.log").read_text()
    assert (recipe / "dump/encoder_model/train/feats.scp").is_file()
    reference = (recipe / "dump/raw/test/text").read_text().splitlines()
    decoded = (exp / "decode_greedy/test/text").read_text().splitlines()
    assert sorted(line.split()[0] for line in decoded) == sorted(
        line.split()[0] for line in reference
    )


def test_second_call_does_nothing_and_says_so(recipe, first):
    def state() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for path in recipe.rglob("*")
            if path.is_file() and path.name != ".lock"  # says who held it last
        }

    before = state()
    output = run(recipe)
    assert "stages that were done already: 1 2 3 4 5 6 7 8 9 10 11" in output
    assert "exp/RESULTS.md" in output
    assert state() == before


def test_a_part_can_be_run_again(recipe, first):
    output = run(recipe, "--stage", "10", "--stop_stage", "11")
    assert " Stage 10: " in output
    assert " Stage 9: " not in output
    assert "Successfully finished" in output


def test_the_baselines_options_are_read_before_the_corpus_is_made(tmp_path: Path) -> None:
    recipe = copy_recipe(tmp_path, "mini_multilingual")
    for script, what in ((recipe / "run.sh", 'echo "$@" >made'), (recipe / SETUP, "exit 0")):
        script.write_text(f"#!/usr/bin/env bash\n{what}\n")

    def say(*options: str) -> str:
        command = [str(recipe / "baseline.sh"), *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode != 0
        return done.stderr

    assert "unknown option --nope (see" in say("--nope", "1")
    assert "--stage 40: there are stages 1 to 7" in say("--stage", "40")
    assert "--st_init must be of encoder, ctc, decoder: all" in say("--st_init", "all")
    assert "--tasks must be of asr, st: mt" in say("--tasks", "mt")
    assert not (recipe / "made").exists()
    assert "dump/raw/train is missing" in say("--tasks", "asr")
    assert (recipe / "made").read_text() == "--stop_stage 3\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "--systems",
            "part nowhere",
            "--systems nowhere: there is no conf/nowhere/stage1.yaml, stage2.yaml or stage3.yaml",
        ),
        ("--systems", "part two_stage part", "--systems names part twice"),
        ("--systems", " ", "--systems must name at least one"),
        ("--seeds", "0 1 1 0", "--seeds names 0 twice"),
        ("--seeds", "0 one", "--seeds must be numbers: one"),
        ("--seeds", "0 -1", "--seeds must be numbers: -1"),
        (
            "--part_config",
            "conf/no_lora",
            "--part_config is set for each of --systems; name directories of conf/ there: --systems no_lora",
        ),
        (
            "--part-tag",
            "mine",
            "--part_tag is set for each of --systems; name directories of conf/ there: --systems no_lora",
        ),
        ("--seed", "1", "--seed is set for each of --seeds: --seeds 1"),
        ("--langs", "en xx", "--langs: no such language here: xx; see --help"),
        ("--langs", "de es", "--langs de es: must name en and another language"),
    ],
)
def test_systems_and_seeds_are_checked_before_anything_is_trained(
    option: str, value: str, message: str
) -> None:
    done = subprocess.run(
        [str(ROOT / MINI / "run.sh"), option, value], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"run.sh: error: {message}\n"
