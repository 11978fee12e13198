"""baseline.sh: stock ESPnet ASR and ST on a tiny corpus, a few steps; a kill, and a second call."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from espnet_part.data.datadir import DataDir, Example

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "egs2/TEMPLATE/part"
SENTENCES = {
    "de": ["guten Tag", "ein alter Baum", "das neue Haus", "der Baum ist neu"],
    "en": ["good day", "an old tree", "the new house", "the tree is new"],
    "es": ["buen día", "un árbol viejo", "la casa nueva", "el árbol es nuevo"],
}
SMALL = {
    "batch_type": "sorted", "batch_size": 2, "num_iters_per_epoch": 8, "max_epoch": 6,
    "num_workers": 0, "keep_nbest_models": 2, "best_model_criterion": [["valid", "acc", "max"]],
    "use_matplotlib": False, "use_tensorboard": False, "log_interval": 4,
    "frontend_conf": {"n_mels": 20},
    "encoder": "transformer",
    "encoder_conf": {
        "output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 1,
        "input_layer": "conv1d2",
    },
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    "optim": "adam", "optim_conf": {"lr": 0.01},
}  # fmt: skip
MODEL_CONF = {"asr": {"ctc_weight": 0.3}, "st": {"asr_weight": 0.3, "mtlalpha": 1.0}}

pytestmark = pytest.mark.recipe


def make_data(recipe: Path, dset: str, count: int) -> None:
    """German speech (noise), its transcripts, and translations into two languages."""
    rng = np.random.default_rng(len(dset))
    examples = []
    for n in range(count):
        wav = Path("dump/raw") / dset / f"audio/clip{n}.wav"
        (recipe / wav).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(recipe / wav, 0.1 * rng.standard_normal(12000), 16000)
        text = {language: SENTENCES[language][n % 4] for language in SENTENCES}
        for task, tgt in (("asr", "de"), ("s2tt", "en"), ("s2tt", "es")):
            examples.append(
                Example(
                    f"clip{n}-{task}-{tgt}",
                    task,
                    "de",
                    tgt,
                    text[tgt],
                    None if task == "asr" else text["de"],
                    str(wav),
                    None,
                    12000,
                )
            )
    DataDir.write(recipe / "dump/raw" / dset, examples)
    DataDir.write(recipe / "data" / dset, examples)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("a recipe")
    # a copy: a shell that runs for minutes must not see a script being edited
    shutil.copy(TEMPLATE / "baseline.sh", directory)
    shutil.copytree(TEMPLATE / "utils", directory / "utils")
    for name in ("path.sh", "cmd.sh"):
        (directory / name).symlink_to(TEMPLATE / name)
    for dset, count in (("train", 12), ("dev", 4), ("test", 4)):
        make_data(directory, dset, count)
    conf = directory / "conf/baseline_espnet"
    conf.mkdir(parents=True)
    for task, model_conf in MODEL_CONF.items():
        (conf / f"train_{task}.yaml").write_text(yaml.safe_dump(SMALL | {"model_conf": model_conf}))
        # one that has learnt nothing babbles until it is stopped
        decoding = {"beam_size": 2, "maxlenratio": -6.0}
        (conf / f"decode_{task}.yaml").write_text(yaml.safe_dump(decoding))
    # what part.sh notes of its last run
    (directory / "dump/.done").mkdir()
    (directory / "dump/.done/sets").write_text("train\ndev\ntest\n")
    return directory


def command(*options: str) -> list[str]:
    fixed = ["--nbpe", "60", "--ngpu", "0", "--nj", "1", "--inference_nj", "2"]
    return ["./baseline.sh", "--python", sys.executable, *fixed, *options]


def run(recipe: Path, *options: str, fails: bool = False) -> str:
    done = subprocess.run(
        command(*options), cwd=recipe, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=900, env=environment(),
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout[-6000:]
    return done.stdout


def environment() -> dict[str, str]:
    own = {"VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def killed(recipe: Path) -> Path:
    """The recipe after a run that was killed in the middle of the ASR training."""
    with (recipe / "killed.log").open("w") as file:
        running = subprocess.Popen(
            command(), cwd=recipe, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True, env=environment(),
        )  # fmt: skip
        link = recipe / "exp/espnet_asr/latest.pth"  # made when the epoch's checkpoint is complete
        deadline = time.monotonic() + 600
        while not link.is_symlink():
            assert running.poll() is None, (recipe / "killed.log").read_text()[-6000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    # what the launcher had started ends with it
    while subprocess.run(["flock", "-n", recipe / "dump/espnet/.lock", "true"]).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not (recipe / "exp/espnet_asr/.done_training").exists()
    return recipe


@pytest.fixture(scope="module")
def first(killed: Path) -> str:
    """What the run after the kill prints."""
    return run(killed)


def test_a_killed_training_resumes(recipe: Path, first: str) -> None:
    assert "going on with the interrupted training in exp/espnet_asr" in first
    assert "Stage 3: statistics for asr: already done" in first
    log = (recipe / "exp/espnet_asr/train.log").read_text()
    assert re.search(r"The training was resumed using exp/espnet_asr/checkpoint.pth", log)
    assert "6epoch results" in log
    assert " 1epoch results" not in log


def test_the_st_model_starts_from_the_asr_model(recipe: Path, first: str) -> None:
    config = yaml.safe_load((recipe / "exp/espnet_st/config.yaml").read_text())
    asr = "exp/espnet_asr/valid.acc.ave.pth"
    assert config["init_param"] == [f"{asr}:encoder:encoder", f"{asr}:ctc:ctc"]


def test_every_utterance_is_scored_under_its_own_id(recipe: Path, first: str) -> None:
    for tag, task, count in (("espnet_asr", "asr", 4), ("espnet_st", "s2tt", 8)):
        directory = recipe / "exp" / tag / f"decode_{tag[7:]}" / "test"
        lines = (directory / "text").read_text().splitlines()
        assert [line.split()[0] for line in lines] == sorted(
            line.split()[0]
            for line in (recipe / "data/test/utt2task").read_text().splitlines()
            if line.endswith(task)
        )
        assert len(lines) == count
        assert not any("<de>" in line or "<en>" in line or "<es>" in line for line in lines)
        scores = json.loads((directory / "score.json").read_text())
        assert list(scores["tasks"]) == [task]
        assert scores["missing"] == []


def test_each_language_is_written_when_it_is_asked_for(recipe: Path, first: str) -> None:
    """However little the model has learnt: the token of the language asked for comes first."""
    logdir = recipe / "exp/espnet_st/decode_st/test/logdir"
    tokens = {}
    for file in sorted(logdir.glob("output.*/1best_recog/token")):
        for line in file.read_text().splitlines():
            utterance, *written = line.split()
            tokens[utterance] = written
    assert len(tokens) == 8
    for utterance, written in tokens.items():
        assert written[0] == f"<{utterance[-2:]}>"


def test_rows_of_both_are_in_the_report(recipe: Path, first: str) -> None:
    report = (recipe / "exp/RESULTS.md").read_text()
    assert re.search(r"\|\s*espnet_asr\s*\|", report)
    assert re.search(r"\|\s*espnet_st\s*\|", report)


def test_a_second_call_does_nothing(recipe: Path, first: str) -> None:
    def state() -> dict[str, int]:
        paths = [*recipe.glob("exp/**/*"), *recipe.glob("dump/espnet/**/*")]
        return {
            str(path): path.stat().st_mtime_ns
            for path in paths
            if path.is_file() and path.name != ".lock"  # says who held it last
        }

    before = state()
    printed = run(recipe)
    assert printed.count("already done") == 11
    assert state() == before


def test_what_cannot_be_done_is_said(recipe: Path, first: str) -> None:
    shutil.copytree(recipe / "dump/raw/train", recipe / "dump/raw/asr_only")
    table = recipe / "dump/raw/asr_only/utt2task"
    table.write_text("".join(f"u{n} asr\n" for n in range(3)))
    printed = run(recipe, "--tasks", "asr st", "--train_set", "asr_only", fails=True)
    assert "--tasks st: dump/raw/asr_only has no example of the task s2tt" in printed
    assert "must be of asr, st: mt" in run(recipe, "--tasks", "mt", fails=True)
    assert "dump/raw/no is missing" in run(recipe, "--valid_set", "no", fails=True)
    assert "no such file" in run(recipe, "--st_config", "no.yaml", fails=True)


def test_help() -> None:
    done = subprocess.run(
        [TEMPLATE / "baseline.sh", "--help"], cwd=TEMPLATE, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "espnet2.bin.asr_train" in done.stdout
    assert re.search(r"--force_language +\S.*\[true\]", done.stdout)
    assert re.search(r"--st_init +\S.*\[encoder ctc\]", done.stdout)
