"""What a training does with its directory, its disk and its limits."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from espnet_part.lock import locked
from espnet_part.train.process import parent_of_ranks
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, JOINT, Workspace, stage


def test_two_trainings_in_one_directory_are_refused(workspace: Workspace, log: Path) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 2}]))
    with locked(workspace.root / "busy" / ".lock", "a test"):
        assert part_train(workspace.command("stage.yaml", "busy"), log) == 1
    last = log.read_text().splitlines()[-1]
    assert "another process is at work there (pid and host:" in last
    assert not (workspace.root / "busy" / "config.yaml").exists()


def test_a_killed_training_with_workers_goes_on_at_once(workspace: Workspace, log: Path) -> None:
    """Its loading processes live some seconds longer."""
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 4}], save_interval=1, num_workers=2))
    cmd = workspace.command("stage.yaml", "killed_with_workers")
    assert part_train(cmd, log, kill=("espnet_part.train.trainer:train_step", 3)) == -9
    assert part_train(cmd, log) == 0, log.read_text()


def test_few_open_files(workspace: Workspace, log: Path) -> None:
    workspace.write("stage.yaml", stage([{**JOINT, "epochs": 2}], num_workers=2))
    cmd = workspace.command("stage.yaml", "few_files")
    limit = (resource.RLIMIT_NOFILE, (64, 64))
    assert part_train(cmd, log, limit=limit) == 0, log.read_text()


def test_the_log_names_what_is_real(workspace: Workspace, log: Path) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 2}]))
    cmd = workspace.command("stage.yaml", "log", "--num_threads", "1")
    assert part_train(cmd, log) == 0, log.read_text()
    text = log.read_text()
    assert "trainable parameters: 0.00" not in text
    assert "Scheduler:" not in text
    assert "phase adapter: scheduler warmuplr over 2 steps" in text


def test_a_lost_process_is_named(workspace: Workspace, log: Path) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 8}]))
    cmd = workspace.command("stage.yaml", "lost")
    kill = ("espnet_part.train.trainer:train_step", 3)
    assert part_train(cmd, log, world=2, kill=kill, kill_rank=1) != 0
    text = log.read_text()
    assert re.search(r"process 1 on \S+ is gone \(one of 2, after step 2; this is process 0", text)
    assert "Traceback" not in text


def test_a_checkpoint_that_cannot_be_written_ends_the_training(
    workspace: Workspace, log: Path
) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 8}], save_interval=2))
    for steps, world in ((8, 1), (8, 2), (1, 1)):  # the last one fails at the end of the training
        output = workspace.root / f"cannot{steps}_{world}"
        output.mkdir()
        (output / "checkpoints").write_text("no directory")
        workspace.write("stage.yaml", stage([{**ADAPTER, "steps": steps}], save_interval=2))
        cmd = workspace.command("stage.yaml", output.name)
        assert part_train(cmd, log, world=world) == 1, log.read_text()
        text = log.read_text()
        log.unlink()
        assert "part_train: error: " in text and f"{output.name}/checkpoints" in text
        assert "Traceback" not in text
        assert "is gone" not in text  # each process knows why it ends
        assert text.count("part_train: error: ") == world


def test_a_process_that_stands_still_is_named_and_shows_its_stacks(
    workspace: Workspace, log: Path
) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 8}]))
    more = ("--dist_timeout", "4", "--hang_minutes", "0.03")
    cmd = workspace.command("stage.yaml", "hangs", *more)
    hang = (("espnet_part.train.trainer:train_step", 3), 40.0)
    assert part_train(cmd, log, world=2, hang=hang, kill_rank=1) != 0
    text = log.read_text()
    assert re.search(r"process 1 on \S+ is gone \(one of 2, after step 2; this is process 0", text)
    assert "Timeout (0:00:01.800000)!" in text and "in armed" in text  # where it stands still
    assert text.index("Timeout (") < text.index("is gone")


def test_a_process_that_reads_slowly_is_named(workspace: Workspace, log: Path) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 8}]))
    cmd = workspace.command("stage.yaml", "reads_slowly")
    hang = (("espnet_part.data.dataset:collate", 3), 3.0)
    assert part_train(cmd, log, world=2, hang=hang, kill_rank=1) == 0, log.read_text()
    assert re.search(
        r"process 1 on .* makes the others wait: reading data took it [3-9]\.", log.read_text()
    )


def test_a_slow_step_goes_on(workspace: Workspace, log: Path) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 4}]))
    cmd = workspace.command("stage.yaml", "slow", "--hang_minutes", "0.03")
    hang = (("espnet_part.train.trainer:train_step", 3), 3.0)
    assert part_train(cmd, log, hang=hang) == 0, log.read_text()
    assert log.read_text().count("Timeout (") == 1
    slow_validation = (("espnet_part.train.trainer:validate", 1), 3.0)
    cmd = workspace.command("stage.yaml", "validation", "--hang_minutes", "0.03")
    log.unlink()
    assert part_train(cmd, log, hang=slow_validation) == 0, log.read_text()
    assert "Timeout (" not in log.read_text()


@pytest.mark.parametrize(
    "between", ["parallel:Parallel.is_over", "saving:Saver.is_due"], ids=["validation", "steps"]
)
def test_what_stands_still_in_a_validation_or_between_steps_shows_its_stacks(
    workspace: Workspace, log: Path, between: str
) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 4}]))
    cmd = workspace.command("stage.yaml", between.rpartition(".")[2], "--hang_minutes", "0.03")
    hang = ((f"espnet_part.train.{between}", 1), 3.0)
    assert part_train(cmd, log, hang=hang) == 0, log.read_text()
    assert log.read_text().count("Timeout (") == 1


def test_a_parent_of_ranks_says_who_was_killed_and_passes_a_notice_on() -> None:
    """What ESPnet does for several GPUs of a node."""
    from torch.multiprocessing.spawn import ProcessContext

    from espnet_part.errors import DataError

    def spawn(*codes: int) -> ProcessContext:
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_rank, args=(code,)) for code in codes]
        for process in processes:
            process.start()
        return ProcessContext(processes, [f"/nonexistent/{n}" for n in range(len(codes))])

    with pytest.raises(DataError, match=r"process 1 on .* was ended by SIGKILL"), parent_of_ranks():
        ranks = spawn(0, -9)
        while not ranks.join():
            pass
    with pytest.raises(SystemExit) as ended, parent_of_ranks():
        ranks = spawn(75)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not ranks.join():
            pass
    assert ended.value.code == 75
    with pytest.raises(SystemExit) as ended, parent_of_ranks():
        ranks = spawn(60)  # has not come to where it heeds a notice
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        while not ranks.join():
            pass
    assert ended.value.code == 75
    for number in (signal.SIGUSR1, signal.SIGTERM):
        assert signal.getsignal(number) == signal.SIG_DFL


def _rank(code: int) -> None:
    if code == 75:
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
        time.sleep(60)
    elif code == 60:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(60)
    elif code:
        os.kill(os.getpid(), -code)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk (needs root)")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("free_kb", [0, 40, 100, 150])
def test_a_full_disk_ends_in_one_line(
    workspace: Workspace, small_disk: Path, log: Path, free_kb: int
) -> None:
    """Wherever it happens: the configuration, the events of TensorBoard, a model, a checkpoint."""
    workspace.write(
        "stage.yaml",
        stage([{**ADAPTER, "steps": 40}], save_interval=2, use_tensorboard=True),
    )
    with (small_disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(700 - free_kb):
            file.write(b"x" * 1024)
        while free_kb == 0:
            file.write(b"x" * 1024)
    cmd = workspace.command("stage.yaml", "never")
    cmd[cmd.index("--output_dir") + 1] = str(small_disk / "exp")
    assert part_train(cmd, log) == 1, log.read_text()
    text = log.read_text()
    assert "Traceback" not in text
    assert "no space left on the disk" in text.splitlines()[-1].lower()
