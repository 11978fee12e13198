"""The result depends on the global batch alone, not on how it was split."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, JOINT, TOP, Workspace, stage

PHASES = [{**ADAPTER, "steps": 3}, {**TOP, "steps": 3}, {**JOINT, "steps": 6}]


def trained(workspace: Workspace, output: str) -> dict[str, torch.Tensor]:
    return load_file(workspace.root / output / "latest.safetensors")


@pytest.fixture(scope="module")
def one_process(workspace: Workspace) -> dict[str, torch.Tensor]:
    workspace.write("stage.yaml", stage(PHASES, batch_size=8))
    log = workspace.root / "one.log"
    assert part_train(workspace.command("stage.yaml", "one"), log) == 0, log.read_text()
    return trained(workspace, "one")


@pytest.mark.parametrize(
    ("world", "accum"), [(2, 1), (1, 4), (2, 2)], ids=["2 processes", "4 micro-batches", "both"]
)
def test_peer_defect_08_the_loss_does_not_depend_on_the_split(
    workspace: Workspace,
    one_process: dict[str, torch.Tensor],
    world: int,
    accum: int,
    log: Path,
) -> None:
    name = f"w{world}a{accum}"
    workspace.write(f"{name}.yaml", stage(PHASES, batch_size=8 // accum, accum_grad=accum))
    assert part_train(workspace.command(f"{name}.yaml", name), log, world=world) == 0, (
        log.read_text()
    )
    other = trained(workspace, name)
    assert other.keys() == one_process.keys()
    for key, tensor in one_process.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=1e-5)


def test_text_only_batches_on_any_rank_never_hang(workspace: Workspace, log: Path) -> None:
    """Steps of two examples over two processes, some of which pair a text with speech."""
    workspace.write("mixed.yaml", stage([{**JOINT, "steps": 12}], batch_size=2))
    cmd = workspace.command("mixed.yaml", "mixed")
    assert part_train(cmd, log, world=2, count_text_only=True) == 0, log.read_text()
    text_only = re.findall(r"text only: \[(.*)\]", log.read_text())
    assert len(text_only) == 2
    first, second = ([word == "True" for word in line.split(", ")] for line in text_only)
    assert any(a != b for a, b in zip(first, second, strict=True))


def test_torchrun_starts_it_as_well(
    workspace: Workspace, one_process: dict[str, torch.Tensor], log: Path
) -> None:
    workspace.write("stage.yaml", stage(PHASES, batch_size=8))
    cmd = workspace.command("stage.yaml", "torchrun", "--dist_backend", "gloo")
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    with log.open("w") as out:
        subprocess.run(
            [sys.executable, *run, "-m", "espnet_part.bin.part_train", *cmd],
            check=True,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    other = trained(workspace, "torchrun")
    for key, tensor in one_process.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=1e-5)


def test_more_processes_than_examples_never_hang(workspace: Workspace, log: Path) -> None:
    workspace.write("small.yaml", stage([{**JOINT, "steps": 3}], batch_size=1, accum_grad=2))
    assert part_train(workspace.command("small.yaml", "small"), log, world=2) == 0, log.read_text()
