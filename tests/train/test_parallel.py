"""The result depends on the global batch alone, not on how it was split."""

from __future__ import annotations

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
    """Steps of two examples over two processes: often one has text and the other speech."""
    workspace.write("mixed.yaml", stage([{**JOINT, "steps": 12}], batch_size=2))
    assert part_train(workspace.command("mixed.yaml", "mixed"), log, world=2) == 0, log.read_text()


def test_more_processes_than_examples_never_hang(workspace: Workspace, log: Path) -> None:
    workspace.write("small.yaml", stage([{**JOINT, "steps": 3}], batch_size=1, accum_grad=2))
    assert part_train(workspace.command("small.yaml", "small"), log, world=2) == 0, log.read_text()
