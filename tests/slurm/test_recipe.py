"""A recipe on a cluster: every stage through Slurm, two nodes, a lost terminal, a job that fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from espnet_part.config import load_yaml
from tests.corpora.tiny_fleurs import write_fleurs
from tests.recipes.tiny import copy_recipe, environment, run_recipe, tiny_options
from tests.slurm.conftest import Shell, start_now

pytestmark = pytest.mark.recipe


class Recipe:
    """The FLEURS recipe with tiny models, in a tree of its own, on the cluster."""

    def __init__(self, root: Path, conf: str) -> None:
        corpus = write_fleurs(root / "corpus with a space")
        self.path = copy_recipe(root, "fleurs")
        self.options = [
            *tiny_options(root, ["asr", "s2tt"]),
            "--langs",
            "de,en,fr",
            "--directions",
            "en",
        ]
        self.stage_file = root / "part/stage1.yaml"
        self.variables = {
            "FLEURS": str(corpus),
            "CMD_BACKEND": "slurm",
            "SLURM_CONF": conf,
            "XDG_CONFIG_HOME": str(root),
        }

    def run(self, *options: str, fails: bool = False) -> str:
        return run_recipe(self.path, *self.options, *options, fails=fails, **self.variables)

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # tests may themselves be started by nohup
            ["env", "--default-signal=HUP", str(self.path / "run.sh"), *self.options, *options],
            env=environment(**self.variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def train_longer(self, steps: int) -> None:
        stage = load_yaml(self.stage_file)
        stage["phases"][0]["steps"] = steps
        self.stage_file.write_text(yaml.safe_dump({**stage, "log_interval": 1}))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, cluster: Shell) -> Recipe:
    conf = cluster("bash", "-c", "echo $SLURM_CONF").stdout.strip()
    return Recipe(tmp_path_factory.mktemp("recipe"), conf)


def test_every_stage_runs(recipe: Recipe) -> None:
    printed = recipe.run()
    assert "slurm.pl: job" in printed and "Successfully finished" in printed
    exp = recipe.path / "exp"
    assert (exp / "RESULTS.md").is_file()
    logs = [*recipe.path.glob("dump/raw/logs/*.log"), *recipe.path.glob("dump/raw/org/logs/*.log")]
    logs += [exp / "part/stage1/train.log", *exp.glob("part/decode*/test/logdir/inference.*.log")]
    assert len(logs) >= 4
    logs += [recipe.path / "dump/logs/data.log", exp / "logs/base_models_tiny_model.log"]
    logs += [*exp.glob("part/decode*/test/score.log")]
    for log in logs:
        assert log.read_text().startswith("# Running on n"), log
    assert "slurm.pl" not in recipe.run()  # all is done


def test_two_nodes_train_together(recipe: Recipe) -> None:
    more = ["--num_nodes", "2", "--part_tag", "two", "--stop_stage", "7"]
    recipe.run(*more)
    one, two = (recipe.path / "exp" / tag / "stage1" for tag in ("part", "two"))
    assert ":0/2] " in (two / "train.log").read_text()  # rank 0 of two
    alone, together = (load_file(path / "latest.safetensors") for path in (one, two))
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("nodes", "words", "name"),
    [
        pytest.param(1, ["--batch", "--signal=USR1"], "SIGUSR1", id="warned"),
        pytest.param(2, ["--batch", "--signal=USR1"], "SIGUSR1", id="warned on two nodes"),
        pytest.param(1, ["--full", "--signal=TERM"], "SIGTERM", id="all processes told"),
        pytest.param(2, ["--signal=TERM"], "SIGTERM", id="all of a step told, as by GraceTime"),
    ],
)
def test_a_training_whose_time_is_up_or_whose_place_is_taken_goes_on(
    recipe: Recipe, cluster: Shell, nodes: int, words: list[str], name: str
) -> None:
    recipe.train_longer(200)
    more = ["--num_nodes", str(nodes), "--stop_stage", "7"]
    recipe.run(*more, "--part_tag", f"whole{nodes}")
    tag = f"told_by_{name}{nodes}"
    running = recipe.start(*more, "--part_tag", tag)
    log = recipe.path / f"exp/{tag}/stage1/train.log"
    wait_for(log, "step 5/200", running)
    job = cluster("squeue", "-h", "-o", "%i").stdout.strip()
    assert cluster("scancel", *words, job).returncode == 0
    start_now(cluster, job)
    printed, _ = running.communicate(timeout=200)
    assert running.returncode == 0, printed
    text = log.read_text()
    assert text.count("# Running on") == 2 and text.count("# Stopped at") == 1
    assert text.count(f"stopped by {name} after step") == 1
    assert text.count(": step 200/200") == 1 and text.count(": step 5/200") == 1
    whole, told = (recipe.path / f"exp/{each}/stage1" for each in (f"whole{nodes}", tag))
    for path in whole.glob("*.safetensors"):
        one, two = load_file(path), load_file(told / path.name)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def wait_for(log: Path, words: str, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (log.is_file() and words in log.read_text()):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.2)


def test_a_lost_terminal(recipe: Recipe, cluster: Shell) -> None:
    recipe.train_longer(1000)
    more = ["--part_tag", "lost", "--stop_stage", "7"]
    first = recipe.start(*more)
    log = recipe.path / "exp/lost/stage1/train.log"
    wait_for(log, "step 5/1000", first)
    os.killpg(first.pid, signal.SIGHUP)
    first.communicate(timeout=200)
    running = cluster("squeue", "-h", "-o", "%i %T").stdout
    assert "RUNNING" in running
    printed = recipe.run(*more)
    assert f"job {running.split()[0]} is on its way already: following it" in printed
    text = log.read_text()
    assert text.count("# Running on") == 1 and text.count("step 1000/1000") == 1
    assert "ETA" in printed  # its progress is shown again


def test_why_a_job_failed_is_said(recipe: Recipe) -> None:
    printed = recipe.run(
        *("--part_tag", "fails", "--stop_stage", "7", "--part_args", "--valid_data_dir none"),
        fails=True,
    )
    assert "failed with status" in printed and "the end of exp/fails/stage1/train.log" in printed


def test_without_a_terminal(recipe: Recipe, cluster: Shell) -> None:
    """The driver's time is up in the middle of a training: it is queued again, and the training is not."""
    recipe.train_longer(200)
    more = ["--part_tag", "detached", "--stop_stage", "7"]
    printed = recipe.run(*more, "--detach", "true")
    found = re.search(r"job (\d+) is \w+.*; log: exp/detached/run.log", printed)
    assert found and f"`scancel {found[1]}` ends it" in printed
    driver = found[1]
    exp = recipe.path / "exp/detached"
    follower = recipe.start(*more)
    wait_for(exp / "stage1/train.log", "step 5/200", follower)
    assert cluster("scancel", "--batch", "--signal=USR1", driver).returncode == 0
    start_now(cluster, driver)
    said, _ = follower.communicate(timeout=200)
    assert follower.returncode == 0, said
    assert f"job {driver} is running" in said and "Successfully finished" in said
    log = (exp / "run.log").read_text()
    assert log.count("# Stopped at") == 1 and log.count("training started") == 2
    assert log.count("is on its way already: following it") == 1
    text = (exp / "stage1/train.log").read_text()
    assert text.count("# Running on") == 1 and text.count(": step 200/200") == 1


def test_submitted_as_a_whole_it_uses_its_allocation(recipe: Recipe, cluster: Shell) -> None:
    """`sbatch run.sh`: Slurm runs a copy of the script, from a directory of its own."""
    log = recipe.path / "job.log"
    more = ["--part_tag", "inside", "--stop_stage", "7"]
    done = subprocess.run(
        ["sbatch", "--wait", "--output", log.name, "run.sh", *recipe.options, *more],
        cwd=recipe.path,
        env=environment(**{**recipe.variables, "CMD_BACKEND": "local"}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, log.read_text()
    assert "Successfully finished" in log.read_text()
    assert (recipe.path / "exp/inside/stage1/latest.safetensors").is_file()
