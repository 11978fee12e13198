"""A recipe on a cluster: every stage through Slurm, two nodes, a lost terminal, a job that fails."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from espnet_part.config import load_yaml
from tests.corpora.tiny_fleurs import write_fleurs
from tests.recipes.tiny import copy_recipe, environment, run_recipe, tiny_options
from tests.slurm.conftest import Shell, start_now, until

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
    assert_same(*(recipe.path / f"exp/{each}/stage1" for each in (f"whole{nodes}", tag)))


def assert_same(whole: Path, other: Path) -> None:
    """The weights of two trainings, bit for bit."""
    paths = sorted(whole.glob("*.safetensors"))
    assert paths
    for path in paths:
        one, two = load_file(path), load_file(other / path.name)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def wait_for(log: Path, words: str, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (log.is_file() and words in log.read_text()):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.2)


def test_a_training_whose_node_goes_down_goes_on(recipe: Recipe, cluster: Shell) -> None:
    """On two nodes, from the last checkpoint; the end is the same bit for bit."""
    recipe.train_longer(200)
    more = ["--num_nodes", "2", "--stop_stage", "7"]
    recipe.run(*more, "--part_tag", "whole2")
    running = recipe.start(*more, "--part_tag", "down")
    log = recipe.path / "exp/down/stage1/train.log"
    wait_for(log, "step 15/200", running)
    job = cluster("squeue", "-h", "-o", "%i").stdout.strip()
    node = ("scontrol", "update", "NodeName=n2")
    assert cluster(*node, "State=DOWN", "Reason=test").returncode == 0
    try:
        until(lambda: "PENDING" in cluster("squeue", "-h", "-j", job, "-o", "%T").stdout, 100)
    finally:
        cluster(*node, "State=RESUME")
    start_now(cluster, job)
    printed, _ = running.communicate(timeout=300)
    assert running.returncode == 0, printed
    text = log.read_text()
    assert text.count("# Running on") == 2 and text.count(": step 200/200") == 1
    assert_same(*(recipe.path / f"exp/{tag}/stage1" for tag in ("whole2", "down")))


def test_a_process_that_was_killed_is_named_with_its_node(recipe: Recipe) -> None:
    recipe.train_longer(1000)
    running = recipe.start("--num_nodes", "2", "--part_tag", "killed", "--stop_stage", "7")
    log = recipe.path / "exp/killed/stage1/train.log"
    wait_for(log, "step 5/1000", running)
    (second,) = (pid for pid in trainings("killed") if b"SLURM_PROCID=1" in variables(pid))
    os.kill(second, signal.SIGKILL)
    printed, _ = running.communicate(timeout=100)
    assert running.returncode == 1
    assert re.search(
        r"process 1 on n2 is gone \(one of 2, after step \d+; this is process 0 on n1", printed
    )
    assert "failed with status 137" in printed


def trainings(tag: str) -> Iterator[int]:
    """The processes on any node that train an experiment."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"espnet_part.bin.part_train" in words[:4] and f"exp/{tag}/stage1".encode() in words:
                yield int(path.parent.name)


def variables(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_two_at_once(recipe: Recipe) -> None:
    """Two experiments train side by side; a second run.sh of one is refused."""
    recipe.train_longer(200)
    tags = ("left", "right")
    both = [recipe.start("--part_tag", tag, "--stop_stage", "7") for tag in tags]
    for tag, running in zip(tags, both, strict=True):
        wait_for(recipe.path / f"exp/{tag}/stage1/train.log", "step 5/200", running)
    refused = recipe.run("--part_tag", "left", "--stop_stage", "7", fails=True)
    assert "exp/left: another process is at work there (pid and host: " in refused
    for tag, running in zip(tags, both, strict=True):
        printed, _ = running.communicate(timeout=300)
        assert running.returncode == 0, printed
        text = (recipe.path / f"exp/{tag}/stage1/train.log").read_text()
        assert text.count("# Running on") == text.count(": step 200/200") == 1
    assert_same(*(recipe.path / f"exp/{tag}/stage1" for tag in tags))


def test_ctrl_c_in_a_terminal_asks_what_becomes_of_the_job(recipe: Recipe, cluster: Shell) -> None:
    recipe.train_longer(1000)
    more = ["--part_tag", "asked", "--stop_stage", "7"]
    log = recipe.path / "exp/asked/stage1/train.log"

    def state() -> str:
        return cluster("squeue", "-h", "--name=asked_stage1", "-o", "%T").stdout.strip()

    for answer, known in (("\n", "RUNNING"), ("y\n", "")):
        with Terminal(recipe, *more) as terminal:
            terminal.read_until("ETA")  # it shows the training
            terminal.type("\x03")
            printed = terminal.read_until("now? [y/N] ")
            assert re.search(r"job \d+ goes on; the same command follows it", printed)
            terminal.type(answer)
            assert terminal.status() == 128 + signal.SIGINT
        until(lambda known=known: state() == known)  # type: ignore[misc]
    text = log.read_text()
    assert text.count("# Running on") == 1 and "# Ended (code 75)" in text


class Terminal:
    """run.sh in a terminal of its own."""

    def __init__(self, recipe: Recipe, *options: str) -> None:
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            words = [str(recipe.path / "run.sh"), *recipe.options, *options]
            os.execve(words[0], words, environment(**recipe.variables))
        self._said = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def read_until(self, words: str) -> str:
        """What it has shown since it was read last, up to these words."""
        while words not in self._said:
            ready, _, _ = select.select([self._end], [], [], 120)
            assert ready, self._said
            self._said += os.read(self._end, 1 << 16).decode("utf-8", "replace")
        shown, _, self._said = self._said.partition(words)
        return shown

    def status(self) -> int:
        """How it has ended."""
        with contextlib.suppress(OSError):  # its end of the terminal is closed
            while os.read(self._end, 1 << 16):
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


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
