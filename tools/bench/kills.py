"""How many kills a training on several nodes survives.

The FLEURS recipe with tiny models trains on the nodes that `tools/slurm_cluster.sh` makes. Again and again
one of its processes is chosen at random and gets SIGKILL: a rank on any node, srun, the job's script, the
launcher, the recipe. When run.sh has ended it is typed again, as a user would, and nothing else is done. At
the end the weights must be those of a training that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.slurm.test_recipe import Recipe  # noqa: E402 (the path comes first)

CLUSTER = ROOT / "tools/slurm_cluster.sh"


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400, help="of a training")
    parser.add_argument("--seconds", type=float, default=20, help="at most, between two kills")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = get_parser().parse_args()
    root = Path(tempfile.mkdtemp(prefix="kills."))
    directory = root / "cluster"
    subprocess.run([CLUSTER, "start", "--dir", directory, "--nodes", str(args.nodes)], check=True)
    try:
        recipe = Recipe(root, str(directory / "slurm.conf"))
        recipe.train_longer(args.steps)
        same = attack(recipe, args)
    finally:
        subprocess.run([CLUSTER, "stop", "--dir", directory], check=True)
    if not same:
        sys.exit(f"see {root}")
    shutil.rmtree(root)


def attack(recipe: Recipe, args: argparse.Namespace) -> bool:
    """Train, kill, train on, until there were enough kills; whether all ended alike."""
    chance = random.Random(args.seed)
    common = ["--num_nodes", str(args.nodes), "--stop_stage", "7"]
    recipe.run(*common, "--part_tag", "whole")
    killed: collections.Counter[str] = collections.Counter()
    alike = trainings = 0
    while killed.total() < args.kills:
        trainings += 1
        tag = f"killed{trainings}"
        typed = quiet = 0
        while True:
            typed += 1
            before = killed.total()
            status = run_under_fire(recipe, [*common, "--part_tag", tag], args, chance, killed)
            if status == 0:
                break
            quiet = quiet + 1 if killed.total() == before else 0
            if quiet == 3:  # of one it may be an earlier kill that the job has noticed late
                sys.exit(f"run.sh failed {quiet} times, and nothing was killed; see {recipe.path}")
        same = same_weights(recipe.path / "exp/whole/stage1", recipe.path / f"exp/{tag}/stage1")
        alike += same
        print(
            f"training {trainings}: typed {typed} times, {'the same' if same else 'OTHER'} weights",
            flush=True,
        )
    print(
        f"kills: {killed.total()} ({', '.join(f'{n} {what}' for what, n in killed.most_common())})"
    )
    print(f"trainings that ended bit for bit as undisturbed: {alike} of {trainings}")
    return alike == trainings


def run_under_fire(
    recipe: Recipe,
    options: list[str],
    args: argparse.Namespace,
    chance: random.Random,
    killed: collections.Counter[str],
) -> int:
    """Type run.sh once, and kill now and then; its exit status."""
    running = recipe.start(*options)
    assert running.stdout is not None
    threading.Thread(target=running.stdout.read, daemon=True).start()  # a full pipe would stop it
    while running.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(chance.uniform(0, args.seconds))
        if killed.total() >= args.kills:
            continue
        victims = sorted(processes_of(recipe.path))
        if victims:
            what, pid = chance.choice(victims)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed[what] += 1
    return running.returncode


def processes_of(directory: Path) -> Iterator[tuple[str, int]]:
    """What works in the recipe's directory: its role, and its number."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() != directory:
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        node = next(
            (v.partition("=")[2] for v in environment if v.startswith("SLURMD_NODENAME=")), ""
        )
        role = role_of(words)
        if role:
            yield f"{role} on {node}" if role == "rank" and node else role, int(entry.name)


def role_of(words: list[str]) -> str | None:
    """What a process is, by its command line; None for what the others start for a moment."""
    text = " ".join(words)
    if "srun" in words[0]:
        return "srun"
    if "espnet_part.bin.part_train" in words:
        return "rank"
    if "slurm_script" in text:
        return "script of the job"
    if "slurm.pl" in text and "leash" not in text:
        return "launcher"
    if "espnet_part.recipe.part" in words:
        return "recipe"
    return None


def same_weights(one: Path, other: Path) -> bool:
    files = sorted(path.name for path in one.glob("*.safetensors"))
    for name in files:
        if not (other / name).is_file():
            return False
        left, right = load_file(one / name), load_file(other / name)
        if left.keys() != right.keys() or not all(torch.equal(left[k], right[k]) for k in left):
            return False
    return bool(files)


if __name__ == "__main__":
    main()
