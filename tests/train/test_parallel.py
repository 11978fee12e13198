"""The result depends on the global batch alone, not on how it was split."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from espnet_part.data.datadir import DataDir
from espnet_part.errors import DataError
from espnet_part.train.parallel import Parallel
from tests.train.launch import CONTEXT, part_train
from tests.train.tiny import ADAPTER, JOINT, TOP, Workspace, model_config, stage

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
    ("world", "accum", "at_once"),
    [(2, 1, None), (1, 4, None), (2, 2, 3)],
    ids=["2 processes", "4 micro-batches", "2 processes of at most 3 at once"],
)
def test_peer_defect_08_the_loss_does_not_depend_on_the_split(
    workspace: Workspace,
    one_process: dict[str, torch.Tensor],
    world: int,
    accum: int,
    at_once: int | None,
    log: Path,
) -> None:
    name = f"w{world}a{accum}"
    options = {"batch_size": 8 // accum, "accum_grad": accum, "max_batch_size_per_gpu": at_once}
    workspace.write(f"{name}.yaml", stage(PHASES, **options))
    assert part_train(workspace.command(f"{name}.yaml", name), log, world=world) == 0, (
        log.read_text()
    )
    assert_close(trained(workspace, name), one_process)


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, tensor in other.items():
        torch.testing.assert_close(one[key], tensor, rtol=0, atol=1e-5)


def test_another_number_of_processes_goes_on_with_the_same_steps(
    workspace: Workspace, one_process: dict[str, torch.Tensor], log: Path
) -> None:
    workspace.write("moved.yaml", stage(PHASES, batch_size=8, save_interval=2))
    cmd = workspace.command("moved.yaml", "moved")
    kill = ("espnet_part.train.trainer:train_step", 9)
    assert part_train([*cmd, "--max_batch_size_per_gpu", "2"], log, world=2, kill=kill) != 0
    assert part_train([*cmd, "--max_batch_size_per_gpu", "5"], log) == 0, log.read_text()
    assert "changed since the checkpoint" not in log.read_text()
    assert_close(trained(workspace, "moved"), one_process)


def test_a_run_changes_its_strategy_and_its_number_of_processes(
    workspace: Workspace, log: Path
) -> None:
    """FSDP2 on two, DDP on one, FSDP2 on four, each from the checkpoint of the one before."""
    broken = workspace.root / "broken"
    examples, _ = DataDir.load(workspace.root / "train")
    (workspace.root / "junk.wav").write_bytes(b"junk" * 100)
    junk = dataclasses.replace(examples[0], audio=str(workspace.root / "junk.wav"))
    DataDir.write(broken, [junk, *examples[1:]])
    model = model_config(workspace.root)
    for part in ("encoder_conf", "llm_conf"):
        model[part]["gradient_checkpointing"] = True
    options = ("--model_config", str(workspace.write("checkpointing.yaml", model)))
    options += ("--train_data_dir", str(broken), "--grad_clip", "0.05")
    phases = [{**ADAPTER, "steps": 3}, {**TOP, "steps": 3}, {**JOINT, "steps": 4}]
    workspace.write("changing.yaml", stage(phases, batch_size=8, save_interval=2))
    cmd = workspace.command("changing.yaml", "unchanged", *options)
    assert part_train(cmd, log) == 0, log.read_text()
    cmd = workspace.command("changing.yaml", "changing", *options)
    sharded = [*cmd, "--parallel", "fsdp2"]
    step = "espnet_part.train.trainer:train_step"
    two = [*sharded, "--max_batch_size_per_gpu", "2"]
    assert part_train(two, log, world=2, kill=(step, 6)) == -9, log.read_text()
    assert part_train(cmd, log, kill=(step, 4)) == -9, log.read_text()
    assert part_train(sharded, log, world=4) == 0, log.read_text()
    found = [path.name for path in (workspace.root / "changing/checkpoints").iterdir()]
    assert sorted(found) == ["00000008", "00000010"]
    assert_close(trained(workspace, "changing"), trained(workspace, "unchanged"))
    one, other = (
        [json.loads(line) for line in (workspace.root / name / "history.jsonl").open()]
        for name in ("unchanged", "changing")
    )
    assert len(one) == len(other) == 3
    for before, after in zip(one, other, strict=True):
        for split, names in (("train", ("loss", "acc", "grad_norm")), ("valid", ("loss", "acc"))):
            for name in names:
                assert after[split][name] == pytest.approx(before[split][name], rel=1e-4)
        assert before["train"]["grad_norm"] > 0.05 or before["phase"] == "top"
    for name in ("unchanged", "changing"):
        assert list((workspace.root / name).glob("bad_utterances.train.*.tsv"))


def test_processes_with_other_data_are_named(workspace: Workspace, log: Path) -> None:
    other = workspace.root / "other_copy"
    examples, _ = DataDir.load(workspace.root / "train")
    changed = dataclasses.replace(examples[0], text="katze")
    DataDir.write(other, [changed, *examples[1:]])
    workspace.write("stage.yaml", stage(PHASES, batch_size=8))
    cmd = workspace.command("stage.yaml", "differing")
    status = part_train(cmd, log, world=2, last_rank=("--train_data_dir", str(other)))
    assert status == 1
    said = (
        f"process 1 of 2 on {socket.gethostname()} runs with another training: data than process 0"
    )
    assert said in log.read_text()
    assert "Traceback" not in log.read_text()


def test_processes_that_would_wait_for_different_things_are_named(
    workspace: Workspace, log: Path
) -> None:
    workspace.write("stage.yaml", stage(PHASES, batch_size=8))
    cmd = workspace.command("stage.yaml", "differing")
    assert part_train(cmd, log, world=2, last_rank=("--max_rewinds", "3")) == 1
    assert "runs with another options than process 0" in log.read_text()


def test_one_process_reads_a_checkpoint_for_all(workspace: Workspace, log: Path) -> None:
    """The other sees an older one, as on a file system that lags, and has none to read."""
    workspace.write("stage.yaml", stage(PHASES, batch_size=8, save_interval=2))
    more = ("--max_batch_size_per_gpu", "4")
    whole = workspace.command("stage.yaml", "two", *more)
    assert part_train(whole, log, world=2) == 0, log.read_text()
    cmd = workspace.command("stage.yaml", "lagging", *more)
    kill = ("espnet_part.train.trainer:train_step", 9)
    assert part_train(cmd, log, world=2, kill=kill) != 0
    other = ("--output_dir", str(workspace.root / "nothing_there"))
    assert part_train(cmd, log, world=2, last_rank=other) == 0, log.read_text()
    assert log.read_text().count("resuming from") == 1
    for name, tensor in trained(workspace, "two").items():
        assert torch.equal(tensor, trained(workspace, "lagging")[name]), name


class State(NamedTuple):
    weights: dict[str, torch.Tensor]
    plain: dict[str, Any]


def state() -> State:
    weights = {
        "float": torch.arange(6.0).view(2, 3),
        "turned": torch.arange(6.0).view(2, 3).T,
        "half": torch.full((5,), 1.5, dtype=torch.bfloat16),
        "counts": torch.tensor([1, 1 << 40]),
        "flags": torch.tensor([True, False, True]),
        "step": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
    }
    return State(weights, {"list": [1, (torch.ones(2),)], "none": None})


def _read_once(rank: int, rendezvous: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=3
    )
    parallel = Parallel(rank, 3)

    def read() -> State:
        assert rank == 0, "only the main process reads"
        return state()

    found = parallel.read_once(read)
    for name, tensor in state().weights.items():
        assert found.weights[name].dtype == tensor.dtype
        assert torch.equal(found.weights[name], tensor), name
    assert found.plain["list"][1][0].tolist() == [1.0, 1.0] and found.plain["none"] is None
    with pytest.raises(DataError, match=r"process 0 of 3 on .*: damaged"):
        parallel.read_once(_damaged)


def _damaged() -> None:
    raise DataError("damaged")


def test_what_one_process_reads_all_have_bit_for_bit(tmp_path: Path) -> None:
    processes = [CONTEXT.Process(target=_read_once, args=(n, tmp_path / "meet")) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert Parallel().read_once(lambda: 5) == 5


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
            timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert_close(trained(workspace, "torchrun"), one_process)


def test_torchrun_starts_again_what_a_process_has_left(workspace: Workspace, log: Path) -> None:
    """By default torchrun shares one store among attempts, in which they find the addresses of the dead."""
    conf = {"save_interval": 1, "log_interval": 1, "batch_size": 8}
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 60}], **conf))
    cmd = workspace.command("stage.yaml", "restarted", "--dist_backend", "gloo", "--resume", "true")
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    with log.open("w") as out:
        running = subprocess.Popen(
            [sys.executable, *run, "--max-restarts", "1", "-m", "espnet_part.bin.part_train", *cmd],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        )
    deadline = time.monotonic() + 300
    while "step 9/60" not in log.read_text():
        assert running.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert running.wait(timeout=300) == 0, log.read_text()
    text = log.read_text()
    assert text.count(": step 2/60") == text.count(": step 60/60") == 1


def test_more_processes_than_examples_never_hang(workspace: Workspace, log: Path) -> None:
    workspace.write("small.yaml", stage([{**JOINT, "steps": 3}], batch_size=1, accum_grad=1))
    assert part_train(workspace.command("small.yaml", "small"), log, world=2) == 0, log.read_text()
    assert "joint: 2 processes are more than the steps can fill" in log.read_text()
