"""A recipe on a cluster: every stage through Slurm, two nodes, a lost terminal, a job that fails."""

from __future__ import annotations

import os
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
from tests.slurm.conftest import Shell

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


def test_a_lost_terminal(recipe: Recipe, cluster: Shell) -> None:
    recipe.train_longer(400)
    more = ["--part_tag", "lost", "--stop_stage", "7"]
    first = subprocess.Popen(
        [str(recipe.path / "run.sh"), *recipe.options, *more],
        env=environment(**recipe.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    log = recipe.path / "exp/lost/stage1/train.log"
    deadline = time.monotonic() + 120
    while not (log.is_file() and "step 5/400" in log.read_text()):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGHUP)
    first.communicate(timeout=60)
    running = cluster("squeue", "-h", "-o", "%i %T").stdout
    assert "RUNNING" in running
    printed = recipe.run(*more)
    assert f"job {running.split()[0]} is on its way already: following it" in printed
    text = log.read_text()
    assert text.count("# Running on") == 1 and text.count("step 400/400") == 1
    assert "ETA" in printed  # its progress is shown again


def test_why_a_job_failed_is_said(recipe: Recipe) -> None:
    printed = recipe.run(
        *("--part_tag", "fails", "--stop_stage", "7", "--part_args", "--valid_data_dir none"),
        fails=True,
    )
    assert "failed with status" in printed and "the end of exp/fails/stage1/train.log" in printed
