"""A run that is killed at any instant ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from espnet_part.errors import AGAIN
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, JOINT, TOP, Workspace, stage

LIMITS = {"max_epochs": {"de": 3}, "min_share": {"asr/en": 0.6}}
STAGE = stage(
    [
        {**ADAPTER, "steps": 6},
        {**TOP, "steps": 5, **LIMITS},
        {**JOINT, "epochs": 1, "restart_warmup": False},
    ],
    save_interval=3,
    scheduler="tristagelr",
    scheduler_conf={"warmup_ratio": 0.2, "hold_ratio": 0.3, "decay_ratio": 0.5},
    scheduler_length="max_steps",
    accum_grad=2,
)
TRAINER = "espnet_part.train.trainer"
CHECKPOINT = "espnet_part.train.checkpoint"
SAVING = "espnet_part.train.saving"


@pytest.fixture(scope="module")
def runs(workspace: Workspace) -> Workspace:
    """A workspace with a finished, uninterrupted run in ``whole``."""
    from tests.train.tiny import model_config

    config = model_config(workspace.root)
    # its random numbers must come again in the same order
    config["speech_adapter_conf"]["dropout"] = 0.2
    workspace.write("model.yaml", config)
    workspace.write("stage.yaml", STAGE)
    log = workspace.root / "whole.log"
    assert part_train(workspace.command("stage.yaml", "whole"), log) == 0, log.read_text()
    return workspace


def outcome(directory: Path) -> tuple[dict[str, dict[str, torch.Tensor]], list[dict[str, Any]]]:
    """All models of a run, and its history without times and memory."""
    models = {file.name: load_file(file) for file in sorted(directory.glob("*.safetensors"))}
    history = []
    for line in (directory / "history.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        entry.pop("seconds")
        assert entry.pop("memory")["process"] > 0
        for key in [key for key in entry["train"] if key.endswith("time")]:
            entry["train"].pop(key)
        history.append(entry)
    return models, history


def assert_same_outcome(one: Path, other: Path) -> None:
    models, history = outcome(one)
    models2, history2 = outcome(other)
    assert history == history2
    assert models.keys() == models2.keys()
    for name, tensors in models.items():
        assert tensors.keys() == models2[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, models2[name][key]), f"{name}: {key}"


def test_what_is_to_be_heard_is_a_table_before_anything_is_trained(runs: Workspace) -> None:
    log = (runs.root / "whole.log").read_text()
    table = log[log.index("what the stage is to hear:") : log.index("phase adapter: 6 steps")]
    rows = {
        line.split()[3]: [cell.strip() for cell in line.split("|")[9:12]]
        for line in table.splitlines()
        if line.startswith("| asr")
    }
    # the second phase's five steps take turns at 8 and 4 of the 12 recordings
    assert (rows["de"], rows["en"]) == (["40 %", "0.00", "2"], ["min 60 %", "0.00", "3"])


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param((f"{TRAINER}:train_step", 2), id="before the first checkpoint"),
        pytest.param((f"{TRAINER}:train_step", 5), id="inside a phase, after a checkpoint"),
        pytest.param((f"{TRAINER}:activate", 2), id="at a phase border"),
        pytest.param((f"{TRAINER}:activate", 3), id="at the border to LoRA"),
        pytest.param((f"{CHECKPOINT}:torch.save", 4), id="while a checkpoint is being written"),
        pytest.param((f"{CHECKPOINT}:sync_file", 14), id="while a checkpoint reaches the disk"),
        pytest.param((f"{CHECKPOINT}:sync_directory", 5), id="at the renaming of a checkpoint"),
        pytest.param((f"{SAVING}:write_weights", 4), id="before a model is written"),
        pytest.param((f"{SAVING}:update_links", 3), id="between a checkpoint and its links"),
        pytest.param((f"{TRAINER}:average_best", 1), id="before the averaging"),
        pytest.param((f"{TRAINER}:validate", 5), id="in a validation"),
    ],
)
def test_killed_and_resumed_is_bit_identical(
    runs: Workspace, kill: tuple[str, int], log: Path
) -> None:
    directory = runs.root / "killed"
    shutil.rmtree(directory, ignore_errors=True)
    cmd = runs.command("stage.yaml", "killed")
    assert part_train(cmd, log, kill=kill) == -9, log.read_text()
    assert part_train(cmd, log) == 0, log.read_text()
    assert_same_outcome(runs.root / "whole", directory)


@pytest.mark.parametrize(
    "slow",
    [
        pytest.param((f"{SAVING}:write_weights", 1), id="before the model"),
        pytest.param((f"{CHECKPOINT}:torch.save", 2), id="before the optimizer"),
        pytest.param((f"{CHECKPOINT}:sync_file", 7), id="before it reaches the disk"),
        pytest.param((f"{CHECKPOINT}:sync_directory", 3), id="before its renaming"),
        pytest.param((f"{CHECKPOINT}:sync_directory", 4), id="before the renaming is on the disk"),
        pytest.param((f"{SAVING}:remove_old", 2), id="before older ones are removed"),
        pytest.param((f"{SAVING}:update_links", 1), id="before the links"),
    ],
)
def test_killed_steps_after_a_checkpoint_that_is_still_being_written(
    runs: Workspace, slow: tuple[str, int], log: Path
) -> None:
    """The one of step 4 stands still; the one of step 3 is whole."""
    directory = runs.root / "killed_beside"
    shutil.rmtree(directory, ignore_errors=True)
    cmd = runs.command("stage.yaml", "killed_beside")
    kill = (f"{TRAINER}:train_step", 6)
    assert part_train(cmd, log, kill=kill, hang=(slow, 60.0)) == -9, log.read_text()
    whole = {path.name for path in (directory / "checkpoints").iterdir() if path.name.isdigit()}
    is_renamed = slow[1] == 4 or slow[0].endswith(("remove_old", "update_links"))
    assert whole == ({"00000003", "00000004"} if is_renamed else {"00000003"})
    assert part_train(cmd, log) == 0, log.read_text()
    assert_same_outcome(runs.root / "whole", directory)


def test_what_is_written_late_is_what_it_was(runs: Workspace, log: Path) -> None:
    cmd = runs.command("stage.yaml", "late")
    hang = ((f"{SAVING}:write_weights", 1), 1.0)
    assert part_train(cmd, log, hang=hang) == 0, log.read_text()
    assert "until the checkpoint before was written" in log.read_text()
    assert_same_outcome(runs.root / "whole", runs.root / "late")


def test_a_notice_waits_for_what_is_being_written(runs: Workspace, log: Path) -> None:
    cmd = runs.command("stage.yaml", "noticed_beside")
    notice = (f"{TRAINER}:train_step", 5)
    for call in (2, 3):  # of the checkpoint before, of the last one
        shutil.rmtree(runs.root / "noticed_beside", ignore_errors=True)
        hang = ((f"{CHECKPOINT}:torch.save", call), 1.0)
        assert part_train(cmd, log, notice=notice, hang=hang) == AGAIN, log.read_text()
        names = {path.name for path in (runs.root / "noticed_beside/checkpoints").iterdir()}
        assert names == {"00000004", "00000005"}
    assert part_train(cmd, log) == 0, log.read_text()
    assert_same_outcome(runs.root / "whole", runs.root / "noticed_beside")


@pytest.mark.parametrize(
    "notice",
    [
        pytest.param((f"{TRAINER}:train_step", 2), id="inside an interval"),
        pytest.param((f"{TRAINER}:train_step", 4), id="at the end of an interval"),
        pytest.param((f"{TRAINER}:train_step", 6), id="at the end of a phase"),
        pytest.param((f"{TRAINER}:validate", 3), id="in a validation"),
        pytest.param((f"{TRAINER}:average_best", 1), id="when all is trained"),
    ],
)
def test_a_notice_stops_at_the_next_step_and_nothing_is_lost(
    runs: Workspace, notice: tuple[str, int], log: Path
) -> None:
    directory = runs.root / "noticed"
    shutil.rmtree(directory, ignore_errors=True)
    cmd = runs.command("stage.yaml", "noticed")
    status = part_train(cmd, log, notice=notice)
    if "average_best" in notice[0]:
        assert status == 0
    else:
        assert status == AGAIN, log.read_text()
        last = log.read_text().splitlines()[-1]
        step = int(max((directory / "checkpoints").iterdir()).name)
        assert f"stopped by SIGUSR1 after step {step}, with a checkpoint" in last
        if "train_step" in notice[0]:
            assert step == notice[1]
        assert part_train(cmd, log) == 0, log.read_text()
        trained = [line for line in log.read_text().splitlines() if "step 4/6 " in line]
        assert len(trained) == 1  # no step is done twice
    assert_same_outcome(runs.root / "whole", directory)


def test_sigterm_is_a_notice_to_a_training_and_to_those_that_load_its_data(
    runs: Workspace, log: Path
) -> None:
    cmd = runs.command("stage.yaml", "terminated", "--num_workers", "2")
    for step in (3, 5):
        terminate = (f"{TRAINER}:train_step", step if step == 3 else 2)  # of this start
        assert part_train(cmd, log, terminate=terminate) == AGAIN, log.read_text()
        said = f"stopped by SIGTERM after step {step}, with a checkpoint: started again, it goes on"
        assert said in log.read_text().splitlines()[-1]
    assert "Traceback" not in log.read_text()
    assert part_train(cmd, log) == 0, log.read_text()
    assert_same_outcome(runs.root / "whole", runs.root / "terminated")


def test_a_place_that_is_taken_before_a_step_is_done_is_not_the_trainings_fault(
    runs: Workspace, log: Path
) -> None:
    cmd = runs.command("stage.yaml", "taken")
    assert part_train(cmd, log, terminate=(f"{TRAINER}:train_step", 4)) == AGAIN, log.read_text()
    assert part_train(cmd, log, terminate=(f"{TRAINER}:validate", 1)) == AGAIN, log.read_text()
    assert log.read_text().count("stopped by SIGTERM after step 4") == 2
    assert part_train(cmd, log) == 0, log.read_text()
    assert_same_outcome(runs.root / "whole", runs.root / "taken")


def test_a_notice_for_one_process_stops_all(runs: Workspace, log: Path) -> None:
    more = ("--max_batch_size_per_gpu", "2")
    for name, wanted in (("alone", 0), ("noticed_two", AGAIN)):
        notice = (f"{TRAINER}:train_step", 5) if wanted else None
        cmd = runs.command("stage.yaml", name, *more)
        status = part_train(cmd, log, world=2, notice=notice, kill_rank=1)
        assert status == wanted, log.read_text()
    assert log.read_text().count("stopped by SIGUSR1 after step 5") == 1
    notice = (f"{TRAINER}:validate", 2)  # one process breaks off, the other comes to the end
    assert part_train(cmd, log, world=2, notice=notice, kill_rank=1) == AGAIN, log.read_text()
    assert part_train(cmd, log, world=2) == 0, log.read_text()
    assert_same_outcome(runs.root / "alone", runs.root / "noticed_two")


def test_time_that_is_too_short_for_a_step_is_said(runs: Workspace, log: Path) -> None:
    cmd = runs.command("stage.yaml", "too_short")
    assert part_train(cmd, log, notice=(f"{TRAINER}:train_step", 4)) == AGAIN, log.read_text()
    assert part_train(cmd, log, notice=(f"{TRAINER}:validate", 1)) == 1, log.read_text()
    assert "the time was over before one more step was done and validated" in log.read_text()


def test_a_checkpoint_after_so_many_minutes(runs: Workspace, log: Path) -> None:
    more = ("--save_minutes", "1e-9", "--save_interval", "0")
    cmd = runs.command("stage.yaml", "by_time", *more)
    assert part_train(cmd, log, kill=(f"{TRAINER}:train_step", 3)) == -9, log.read_text()
    names = {path.name for path in (runs.root / "by_time/checkpoints").iterdir()}
    assert "00000001" in names  # that of step 2 may still be written
    cmd[cmd.index("1e-9")] = "-1"
    assert part_train(cmd, log) == 1
    assert "save_minutes: must be a number above 0" in log.read_text()


def test_the_newest_checkpoints_are_kept_and_an_old_one(runs: Workspace, log: Path) -> None:
    runs.write("kept.yaml", stage([{**ADAPTER, "steps": 6}], save_interval=1))
    more = ("--keep_checkpoints", "3", "--keep_checkpoint_hours", "1000")
    assert part_train(runs.command("kept.yaml", "kept", *more), log) == 0, log.read_text()
    names = sorted(path.name for path in (runs.root / "kept/checkpoints").iterdir())
    assert names == ["00000001", "00000004", "00000005", "00000006"]


def train_three_stages(workspace: Workspace, name: str, log: Path, **options: Any) -> int:
    """Stages that start from one another, as a recipe runs them; ends at the first that fails."""
    previous: Path | None = None
    for number, phase in enumerate((ADAPTER, TOP, JOINT), 1):
        workspace.write(
            f"three{number}.yaml", stage([{**phase, "steps": 6}], save_interval=2, accum_grad=2)
        )
        more = () if previous is None else ("--part_init", str(previous))
        cmd = workspace.command(f"three{number}.yaml", f"{name}/stage{number}", *more)
        previous = workspace.root / name / f"stage{number}" / "valid.acc.ave.safetensors"
        if previous.exists():  # as the recipe's marker: this stage is done
            continue
        if (status := part_train(cmd, log, **options)) != 0:
            return status
    return 0


def test_random_kills_over_three_stages(runs: Workspace, log: Path) -> None:
    """PART_KILLS=20 for the long version."""
    rng = random.Random(5)
    start = time.perf_counter()
    assert train_three_stages(runs, "unharmed", log) == 0, log.read_text()
    longest = (time.perf_counter() - start) / 3
    kills = 0
    while kills < int(os.environ.get("PART_KILLS", "3")):
        shutil.rmtree(runs.root / "harmed", ignore_errors=True)
        status = -9
        while status == -9:
            status = train_three_stages(runs, "harmed", log, kill_after=rng.uniform(0, longest))
            kills += status == -9
        assert status == 0, log.read_text()
        for number in (1, 2, 3):
            stages = (runs.root / run / f"stage{number}" for run in ("unharmed", "harmed"))
            assert_same_outcome(*stages)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    runs: Workspace, log: Path
) -> None:
    directory = runs.root / "damaged"
    cmd = runs.command("stage.yaml", "damaged")
    assert part_train(cmd, log, kill=(f"{TRAINER}:train_step", 15)) == -9
    newest = max((directory / "checkpoints").iterdir())
    content = bytearray((newest / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "weights.safetensors").write_bytes(content)
    assert part_train(cmd, log) == 0
    assert f"{newest.name} is damaged (weights.safetensors has changed)" in log.read_text()
    assert_same_outcome(runs.root / "whole", directory)


def test_a_finished_run_does_nothing_when_typed_again(runs: Workspace, log: Path) -> None:
    before = outcome(runs.root / "whole")[1]
    assert part_train(runs.command("stage.yaml", "whole"), log) == 0
    assert outcome(runs.root / "whole")[1] == before
    assert "loss=" not in log.read_text()


def test_a_changed_phase_is_refused(runs: Workspace, log: Path) -> None:
    first, *others = STAGE["phases"]
    runs.write("changed.yaml", {**STAGE, "phases": [{**first, "lr": {"adapter": 1.0}}, *others]})
    assert part_train(runs.command("changed.yaml", "whole"), log) == 1
    assert "phase adapter has changed since the checkpoint was written" in log.read_text()


@pytest.mark.parametrize("steps", [3, 2], ids=["to what it has done", "to less"])
def test_a_phase_that_is_cut_short_ends_with_its_validation_and_its_model(
    workspace: Workspace, steps: int, log: Path
) -> None:
    directory = workspace.root / f"cut{steps}"
    long = stage([{**ADAPTER, "steps": 8}], save_interval=3)
    workspace.write("long.yaml", long)
    cmd = workspace.command("long.yaml", directory.name)
    assert part_train(cmd, log, notice=(f"{TRAINER}:train_step", 3)) == AGAIN, log.read_text()
    workspace.write("long.yaml", {**long, "phases": [{**ADAPTER, "steps": steps}]})
    assert part_train(cmd, log) == 0, log.read_text()
    models, history = outcome(directory)
    assert [(entry["epoch"], entry["step"]) for entry in history] == [(1, 3)]
    assert "acc" in history[0]["valid"]
    assert {"1epoch.safetensors", "valid.acc.ave.safetensors"} <= models.keys()


def test_with_an_index_it_is_the_same_training(runs: Workspace, log: Path) -> None:
    from espnet_part.bin.part_collect_stats import main as part_collect_stats

    for split in ("train", "valid"):
        model = str(runs.root / "model.yaml")
        words = ["--data_dir", str(runs.root / split), "--model_config", model]
        part_collect_stats([*words, "--out_dir", str(runs.root / f"stats_{split}")])
    cmd = runs.command("stage.yaml", "indexed")
    assert part_train(cmd, log, kill=(f"{TRAINER}:train_step", 8)) == -9, log.read_text()
    for split in ("train", "valid"):  # from the middle on, read by two more processes
        cmd += [f"--{split}_index_dir", str(runs.root / f"stats_{split}/index")]
    assert part_train([*cmd, "--num_workers", "2"], log) == 0, log.read_text()
    assert "changed since the checkpoint" not in log.read_text()
    assert_same_outcome(runs.root / "whole", runs.root / "indexed")
    (runs.root / "train/text").touch()
    with (runs.root / "train/utt2spk").open("w") as file:
        file.write("")
    assert part_train(cmd, log) == 1
    assert "utt2spk has changed since; write the index anew" in log.read_text()


REWINDING = stage(
    [{**ADAPTER, "steps": 30}, {**TOP, "steps": 30}],
    save_interval=10,
    max_nonfinite_steps=1,
    max_rewinds=20,
)


def test_a_run_goes_back_and_on_with_other_data(workspace: Workspace, log: Path) -> None:
    workspace.write("rewinding.yaml", REWINDING)
    heard = workspace.root / "heard.txt"
    cmd = workspace.command("rewinding.yaml", "rewinding")
    assert part_train(cmd, log, record_heard=heard, make_up_faults=True) == 0, log.read_text()
    text = log.read_text()
    moves = re.findall(r"back at step (\d+), and on with the data that come after step (\d+)", text)
    back = [(int(to), int(bad)) for to, bad in moves]
    assert len(back) >= 2
    assert all(to in {*range(0, 60, 4), *range(2, 60, 4), *range(0, 60, 10)} for to, _ in back)
    assert text.count("it is made up; skipped") == len(back)
    utts = heard.read_text(encoding="utf-8").split()
    assert len(utts) == 4 * (60 + sum(bad - to for to, bad in back))
    first = (
        4 * back[0][1]
    )  # the pass over 12 utterances that it went back in is ended with the others
    assert all(len(set(utts[i : i + 12])) == 12 for i in range(0, first // 12 * 12 + 1, 12))

    log.write_text("", encoding="utf-8")
    cmd = workspace.command("rewinding.yaml", "rewinding_killed")
    kill = (f"{TRAINER}:train_step", back[0][1] + 2)  # it has gone back, and no checkpoint tells
    assert part_train(cmd, log, kill=kill, make_up_faults=True) == -9
    assert "back at step" in log.read_text()
    assert part_train(cmd, log, make_up_faults=True) == 0, log.read_text()
    assert_same_outcome(workspace.root / "rewinding", workspace.root / "rewinding_killed")


def test_going_back_has_an_end(workspace: Workspace, log: Path) -> None:
    """Every step above the mean is a spike."""
    workspace.write("spiky.yaml", {**REWINDING, "phases": [{**ADAPTER, "steps": 60}]})
    more = ("--spike_deviations", "1e-9", "--max_rewinds", "2")
    assert part_train(workspace.command("spiky.yaml", "spiky", *more), log) == 1
    text = log.read_text()
    assert text.count("back at step") == 2
    assert "--max_rewinds: 2 of 2" in text
    assert "is a spike" in text
    assert "1 steps in a row were skipped, the last one since the" in text.splitlines()[-1]


def test_gone_back_among_bad_steps_their_count_begins_anew(workspace: Workspace, log: Path) -> None:
    """After the first update no step is finite, and each step has a checkpoint."""
    phase = {**ADAPTER, "lr": {"adapter": 1e38}, "steps": 60}
    options = {"save_interval": 1, "num_iters_per_epoch": 60, "max_nonfinite_steps": 3}
    workspace.write("diverging.yaml", stage([phase], max_rewinds=1, **options))
    assert part_train(workspace.command("diverging.yaml", "diverging"), log) == 1
    before, after = log.read_text().split("--max_rewinds: 1 of 1")
    assert before.count("is not finite; skipped") == after.count("is not finite; skipped") == 3
    # none of a model in which each step is bad
    newest = max((workspace.root / "diverging/checkpoints").iterdir())
    assert newest.name == "00000001"


def test_what_a_phase_thaws_is_kept_before_it_trains(workspace: Workspace, log: Path) -> None:
    """Going back from the phase's first steps, it is to be as it was."""
    workspace.write("rewinding.yaml", REWINDING)
    cmd = workspace.command("rewinding.yaml", "thawed", "--keep_checkpoints", "100")
    assert part_train(cmd, log) == 0, log.read_text()
    at_start = workspace.root / "thawed/checkpoints/00000030"
    assert any(n.startswith("encoder.") for n in load_file(at_start / "weights.safetensors"))
