"""The whole of part_evidence on the embedded recipe, with little data and few steps, and a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from espnet_part.config import load_yaml
from espnet_part.evidence.plan import Run, load_plan
from espnet_part.evidence.record import Evidence
from espnet_part.kaldi import read_table
from tests.recipes.tiny import copy_recipe, environment

pytestmark = pytest.mark.recipe

SMALL = "--train_clips 12 --dev_clips 4 --test_clips 4 --text_pairs 12 --encoder_clips 16"
PLAN = {
    "title": "tiny",
    "options": {
        "train_set": "train",
        "valid_set": "dev",
        "test_sets": "test",
        "audio_format": "wav",
        "ngpu": 0,
        "num_threads": 1,
        "nj": 1,
        "inference_nj": 1,
        "model_config": "conf/model.yaml",
        # models that have learnt nothing babble until they are stopped
        "inference_args": "--max_new_tokens 8",
        "inference_batch_size": 32,
    },
    "corpora": {
        "two": {
            "local_data_opts": f"--langs 'en de' {SMALL}",
            "local_base_models_opts": "--langs 'en de' --encoder_steps 4 --llm_steps 4",
        }
    },
    "setting": {"corpus": "two"},
    "seeds": [3],  # more seeds, and the choice of rates, are tested without trainings
    "rates": [1],
    "systems": {
        "part": {"is_a": "PART"},
        "part_frozen": {"of": "part", "stage3": {"*": {"without": ["llm"]}}},
        # it fails when part.sh looks at it, and must not stop the others
        "broken": {"of": "part", "stage1": {"adapter": {"tasks": ["s2st"]}}},
    },
    "questions": {
        "systems": {
            "asks": "Which is better?",
            "pairs": [["part", "part_frozen"], ["part", "broken"]],
            "curves": True,
        },
        "scarce": {
            "asks": "With half of the translations?",
            "pairs": [["part", "part_frozen"]],
            "settings": [{}, {"s2tt": 0.5, "steps": 0.5}],
            "seeds": 1,
        },
    },
    "claims": [{"says": "better", "paper": "yes", "better": "part", "worse": "part_frozen"}],
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe in a tree of its own, two stages of a few steps."""
    path = copy_recipe(tmp_path_factory.mktemp("evidence"), "mini_multilingual")
    (path / "conf/part/stage2.yaml").unlink()
    for file in sorted((path / "conf/part").glob("stage*.yaml")):
        stage = load_yaml(file)
        for phase in stage["phases"]:
            phase["steps"] = 4
        stage |= {"batch_size": 4, "num_iters_per_epoch": 2, "save_interval": 2, "log_interval": 2}
        file.write_text(yaml.safe_dump(stage))
    (path / "conf/evidence.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    return path


def start(recipe: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "espnet_part.bin.part_evidence", "--recipe", str(recipe), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
    )


def finish(running: subprocess.Popen[str], status: int = 0) -> str:
    printed, _ = running.communicate(timeout=1500)
    assert running.returncode == status, printed[-6000:]
    return printed


@pytest.fixture(scope="module")
def first(recipe: Path) -> str:
    """What the second call prints, after one that is killed in the middle of a training."""
    running = start(recipe)
    deadline = time.monotonic() + 900
    wanted = recipe / "evidence/two/exp/part_x1_seed3/stage3/latest.safetensors"
    while running.poll() is None and time.monotonic() < deadline and not wanted.exists():
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    printed = finish(running, -signal.SIGKILL)
    assert wanted.exists(), printed[-6000:]
    return finish(start(recipe, "--jobs", "2"), status=1)


def test_it_goes_on_and_a_failure_is_named(recipe: Path, first: str) -> None:
    assert "failed: broken_x1_seed3" in first
    assert "the same command goes on" in first
    failed = json.loads((recipe / "evidence/failures.json").read_text())
    assert set(failed) == {"broken_x1_seed3"}
    text = (recipe / "evidence/EVIDENCE.md").read_text()
    assert "- failed: broken_x1_seed3" in text
    assert "part over part_frozen: error rate" in text
    assert "50 % of S2TT" in text
    # a test set of so few utterances has no intervals, and so no picture of them
    assert "**not measured**" in text and "evidence_systems.png" not in text
    assert "3: text" in text  # a point of the curves


def test_shared_stages_are_trained_once(recipe: Path, first: str) -> None:
    exp = recipe / "evidence/two/exp"
    one, two = (exp / f"{name}_x1_seed3" for name in ("part", "part_frozen"))
    logs = [(path / "stage1/train.log").read_text() for path in (one, two)]
    assert logs[0] == logs[1]
    assert (one / "stage3/train.log").read_text() != (two / "stage3/train.log").read_text()
    plan = load_plan(recipe / "conf/evidence.yaml")
    evidence = Evidence(plan, recipe, recipe / "evidence")
    for setting in plan.settings_of(plan.questions["scarce"]):
        run = Run("part", setting, 1.0, 3)
        assert evidence.is_trained(run) and evidence.is_tested(run)


def test_the_scarce_training_set_lies_inside_the_whole(recipe: Path, first: str) -> None:
    raw = recipe / "evidence/two/dump/raw"
    whole, part = (read_table(raw / name / "utt2task") for name in ("train", "train_s2tt0.5"))
    counts = [list(tasks.values()).count("s2tt") for tasks in (whole, part)]
    assert counts[1] * 2 == counts[0]
    left = {utt for utt, task in whole.items() if task != "s2tt"}
    assert left <= part.keys() <= whole.keys()


def test_it_does_nothing_twice(recipe: Path, first: str) -> None:
    plan = {**PLAN, "systems": {k: v for k, v in PLAN["systems"].items() if k != "broken"}}
    question = {**PLAN["questions"]["systems"], "pairs": [["part", "part_frozen"]]}
    plan["questions"] = {**PLAN["questions"], "systems": question}
    (recipe / "conf/evidence.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    printed = finish(start(recipe, "--dry_run"))
    assert printed.splitlines()[-2].split()[1:] == ["0", "0.0"], printed
    weights = sorted(recipe.glob("evidence/two/exp/*/stage*/*.safetensors"))
    before = {path: path.lstat().st_mtime_ns for path in weights}
    printed = finish(start(recipe))
    assert "stage 1; log" not in printed
    assert {path: path.lstat().st_mtime_ns for path in weights} == before


def test_nothing_new_is_begun_when_time_is_up(recipe: Path, first: str) -> None:
    printed = finish(start(recipe, "--only", "scarce", "--max_hours", "1e-9"))
    assert "--max_hours are used up" in printed


def test_an_unknown_question_is_refused(recipe: Path) -> None:
    assert "did you mean `scarce`" in finish(start(recipe, "--only", "scarse"), status=1)
