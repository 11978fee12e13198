"""PART as ESPnet 3 runs it: python run.py --stages …"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pack.conftest import WEIGHTS, save_base_models
from tests.train.tiny import ADAPTER, JOINT, TOP, make_data, model_config, stage

ROOT = Path(__file__).parents[2]
RUN = ROOT / "egs3/mini_multilingual/part/run.py"
TEMPLATE = ROOT / "egs2/TEMPLATE/part"
LACKING = [name for name in ("espnet3", "lightning") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(
    bool(LACKING),
    reason=f"PART as a system of ESPnet 3: no {' and no '.join(LACKING)} here; "
    "tools/setup.sh --python 3.12 --extras dev,espnet3",
)
ROLES = ("training", "inference", "metrics", "publication")


def espnet3(recipe: Path, stages: str, *roles: str, status: int = 0) -> str:
    """Run run.py as a user of ESPnet 3 does; return what it prints."""
    configs = [word for role in roles for word in (f"--{role}_config", f"conf/{role}.yaml")]
    done = subprocess.run(
        [sys.executable, str(RUN), "--stages", *stages.split(), *configs],
        cwd=recipe,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == status, done.stdout[-6000:]
    return done.stdout


def write_configs(recipe: Path, **configs: dict[str, Any]) -> None:
    (recipe / "conf").mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        (recipe / f"conf/{role}.yaml").write_text(yaml.safe_dump(configs.get(role, {})))


def content(weights: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a file of weights, whose keys come in any order, and the bytes of its tensors."""
    found = weights.read_bytes()
    start = 8 + int.from_bytes(found[:8], "little")
    return json.loads(found[8:start]), found[start:]


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def test_stages_run_part_sh_and_keep_what_it_says(tmp_path: Path) -> None:
    write_configs(tmp_path, training={"exp_tag": "mine", "num_device": 0, "part": {"nj": 3}})
    script(tmp_path / "part.sh", 'printf "%s " part.sh "$@"; echo; [ ! -e broken ] || exit 75')
    said = espnet3(tmp_path, "create_dataset train", "training")
    first, second = (line for line in said.splitlines() if "part.sh --nj 3 --ngpu 0" in line)
    assert "--expdir exp --part_tag mine --stop_stage 3" in first
    assert "--skip_data_prep true --stop_stage 9" in second
    assert "--part_tag mine" in (tmp_path / "exp/mine/train.log").read_text()

    (tmp_path / "broken").touch()
    said = espnet3(tmp_path, "create_dataset train", "training", status=75)
    assert "stage: train" not in said.split("part.sh --nj")[1]

    write_configs(tmp_path, training={"exp_tag": "mine", "trainer": {"max_epochs": 2}})
    said = espnet3(tmp_path, "train", "training", status=1)
    assert "training config: unknown key `trainer`" in said
    assert "Traceback" not in said


def test_an_interrupted_stage_says_how_to_go_on(tmp_path: Path) -> None:
    write_configs(tmp_path, training={"exp_tag": "mine"})
    stops = 'trap "echo the same command goes on; exit 130" INT; touch begun; while :; do sleep 0.1; done'
    script(tmp_path / "part.sh", stops)
    running = subprocess.Popen(
        [sys.executable, str(RUN), "--stages", "train", "--training_config", "conf/training.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # whoever ignores it here
    )
    while running.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "the same command goes on" in said and "Traceback" not in said


@pytest.mark.recipe
def test_weights_and_scores_are_those_of_the_recipe_in_egs2(tmp_path: Path) -> None:
    schedule = tmp_path / "part"
    schedule.mkdir()
    for n, phases in enumerate(([ADAPTER], [TOP], [JOINT]), start=1):
        trained = stage([{**p, "steps": 4} for p in phases], num_iters_per_epoch=2)
        (schedule / f"stage{n}.yaml").write_text(yaml.safe_dump(trained))
    (tmp_path / "model").mkdir()
    model = model_config(tmp_path / "model")
    save_base_models(tmp_path / "model")
    model["encoder_conf"] = {"name": "../model/encoder"}
    model["llm_conf"] = {"name": "../model/llm", "dtype": "float32"}
    (tmp_path / "model/model.yaml").write_text(yaml.safe_dump(model))
    for seed, name in enumerate(("train", "valid", "test")):
        make_data(tmp_path / "prepared" / name, 3, seed=seed)
    settings = {
        "valid_set": "valid",
        "audio_format": "copy",
        "model_config": "../model/model.yaml",
        "part_config": "../part",
        "nj": 1,
        "inference_nj": 1,
        "inference_args": "--max_new_tokens 8",
    }
    for name in ("egs2", "egs3"):
        script(tmp_path / name / "local/data.sh", "mkdir -p data && cp -r ../prepared/* data")
        for file in ("part.sh", "path.sh", "cmd.sh", "utils"):
            (tmp_path / name / file).symlink_to(TEMPLATE / file)

    options = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    options += ["--ngpu", "0", "--seed", "3", "--part_tag", "mine", "--python", sys.executable]
    done = subprocess.run(
        ["./part.sh", *options],
        cwd=tmp_path / "egs2",
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    training = {"exp_tag": "mine", "num_device": 0, "seed": 3, "part": settings}
    publication = {"part": {"with_base_models": True}}
    write_configs(tmp_path / "egs3", training=training, publication=publication)
    espnet3(tmp_path / "egs3", "create_dataset collect_stats train", "training")
    espnet3(tmp_path / "egs3", "infer measure pack_model", *ROLES)

    ours, theirs = (tmp_path / name / "exp" for name in ("egs3", "egs2"))
    for n in (1, 2, 3):
        name = f"mine/stage{n}/{WEIGHTS}"
        assert content(ours / name) == content(theirs / name), name
    decoded = "mine/decode_greedy/test/text"
    assert (ours / decoded).read_text() == (theirs / decoded).read_text()
    found, expected = (json.loads((exp / "results.json").read_text()) for exp in (ours, theirs))
    assert found["wer"] and (found["wer"], found["bleu"]) == (expected["wer"], expected["bleu"])
    assert (ours / "mine" / f"mine_{Path(WEIGHTS).stem}.zip").is_file()
    said = espnet3(tmp_path / "egs3", "train", "training")
    assert "stages that were done already: 7 8 9" in said
