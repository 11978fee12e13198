"""A plan beside what a run has logged, through the command."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_part.bin.part_collect_stats import main as collect_stats
from espnet_part.bin.part_plan import main
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, JOINT, Workspace, stage

PHASES = [
    {**ADAPTER, "epochs": 1},
    {**JOINT, "epochs": 2, "tasks": ["asr", "t2tt"]},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Passes over data that were counted: 12 transcripts, then twice them and as many texts."""
    work = Workspace(tmp_path_factory.mktemp("workspace"))
    stats = work.root / "stats"
    model = str(work.root / "model.yaml")
    collect_stats(
        *[
            [
                "--data_dir",
                str(work.root / "train"),
                "--model_config",
                model,
                "--out_dir",
                str(stats),
            ]
        ]
    )
    work.write("stage.yaml", stage(PHASES))
    command = work.command("stage.yaml", "exp/stage1", "--train_shape_file", f"{stats}/text_tokens")
    assert part_train(command, work.root / "train.log") == 0
    return work


@pytest.fixture
def run(trained: Workspace, tmp_path: Path) -> Path:
    """A training of one stage that a test may change."""
    return Path(shutil.copytree(trained.root / "exp", tmp_path / "exp"))


def change(run: Path, **options: Any) -> None:
    path = run / "stage1/config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **options}))


def change_history(run: Path, memory: dict[str, float] | None = None, **measures: float) -> None:
    """Other measures of all intervals."""
    path = run / "stage1/history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["memory"] |= memory or {}
        line["train"] |= measures
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def check(run: Path, *options: str) -> tuple[dict[tuple[str, str], dict[str, Any]], list[str]]:
    """What is said by phase and quantity, and the notes."""
    file = run / "check.json"
    main(["--check", str(run), "--json", str(file), *options])
    found = json.loads(file.read_text())["check"]
    return {(c["phase"], c["quantity"]): c for c in found["phases"]}, found["notes"]


def test_whole_passes_are_as_planned(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks, notes = check(run)
    assert {phase for phase, _ in checks} == {"adapter", "joint"}
    for phase, steps in (("adapter", 3), ("joint", 12)):
        assert checks[phase, "steps"]["measured"] == steps
        for quantity in ("steps", "parameters ever trained", "examples a step"):
            assert checks[phase, quantity]["ratio"] == 1
        for quantity in ("answer tokens a step", "audio a step (s)", "audio (h)"):
            assert checks[phase, quantity]["ratio"] == pytest.approx(
                1, rel=0.03
            )  # hours have 4 digits
        assert checks[phase, "a step (s)"]["measured"] > 0
        assert checks[phase, "a step (s)"]["predicted"] is None
        assert (phase, "memory of a GPU (GB)") not in checks
    assert any(note.startswith("memory: without a GPU") for note in notes)
    assert any(note.startswith("hours of each task") for note in notes)
    assert not any("planned" in note.partition(":")[2][:12] for note in notes)
    said = capsys.readouterr().out
    assert "| stage1 | adapter |" in said and "| ratio |" in said


def test_a_directory_of_one_training_is_checked_by_itself(run: Path) -> None:
    checks, _ = check(run / "stage1")
    assert checks["joint", "steps"]["stage"] == "stage1"


def test_an_assumed_speed_is_compared(run: Path) -> None:
    for tflops, word in (("1000", "slower than assumed"), ("1e-9", "faster than assumed")):
        checks, _ = check(run, "--gpu_tflops", tflops)
        found = checks["joint", "TFLOP/s of a process"]
        assert found["predicted"] == pytest.approx(float(tflops))
        assert found["said"].startswith(word)
        step = checks["joint", "a step (s)"]
        assert found["ratio"] == pytest.approx(1 / step["ratio"])


def test_settings_that_were_not_planned_are_named(trained: Workspace, run: Path) -> None:
    planned = trained.write(
        "planned.yaml", stage([{**PHASES[0], "epochs": 2}, PHASES[1]], batch_size=8)
    )
    model = str(trained.root / "model.yaml")
    checks, notes = check(run, "--config", str(planned), "--model_config", model)
    assert "stage1: batch_size: planned 8, trained with 4" in notes
    assert "stage1: phase adapter: epochs: planned 2, trained with 1" in notes
    found = checks["adapter", "examples a step"]
    assert found["ratio"] == 0.5 and found["said"].startswith("steps hold less than planned")
    _, notes = check(run, "--accum_grad", "2")
    assert "stage1: accum_grad: planned 2, trained with 1" in notes


def test_a_phase_of_another_name_is_named_on_either_side(run: Path) -> None:
    change(run, phases=[PHASES[0], {**PHASES[1], "name": "renamed"}])
    checks, notes = check(run)
    assert checks["renamed", "steps"]["said"] == "not validated so far"
    assert any(note.startswith("stage1: phase joint: in history.jsonl") for note in notes)


def test_a_run_that_was_killed_is_checked_as_far_as_it_came(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = run / "stage1/history.jsonl"
    first, second, *_ = history.read_text().splitlines()
    history.write_text(f"{first}\n{second}\n{second[:40]}")
    checks, _ = check(run)
    assert "line 3 is damaged" in caplog.text
    assert checks["adapter", "steps"]["ratio"] == 1
    found = checks["joint", "steps"]
    assert found["measured"] == 4 and found["said"] == "under way, killed, or stopped early"
    history.unlink()  # before the first validation
    checks, _ = check(run)
    assert {quantity for _, quantity in checks} == {"steps"}


def test_other_selections_of_what_trains_show(run: Path) -> None:
    change(run, phases=[{**PHASES[0], "train": ["encoder"], "lr": {"encoder": 1e-3}}, PHASES[1]])
    checks, _ = check(run)
    assert checks["adapter", "parameters ever trained"]["said"].startswith("another model, or")
    (run / "stage1/1epoch.safetensors").write_bytes(b"\xff" * 9)
    with pytest.raises(SystemExit):
        check(run)


def test_a_training_that_goes_on_from_an_unknown_one_says_so(run: Path) -> None:
    change(run, part_init="exp/before/1epoch.safetensors")
    checks, notes = check(run)
    assert ("joint", "parameters ever trained") not in checks
    assert any("goes on from exp/before/1epoch.safetensors" in note for note in notes)


def test_older_histories_say_what_they_lack(run: Path) -> None:
    change_history(run, examples=math.nan, padding_share=0.5)
    checks, notes = check(run)
    assert checks["joint", "examples a step"]["ratio"] is None
    assert "examples a step: older versions did not log them" in notes
    assert checks["joint", "padding (share)"]["said"] == "plan with --padding 0.50"


def test_a_gpus_memory_and_time_are_compared(run: Path) -> None:
    change(run, ngpu=1)
    change_history(run, iter_time=9.0)
    quantity = "memory of a GPU (GB)"
    planned = check(run)[0]["adapter", quantity]["predicted"]
    for share, said in (
        (0.4, "the dearest micro-batch did not come"),
        (0.9, ""),
        (1 + 3.1 / planned, "more than planned, its reserve included"),
    ):
        change_history(run, memory={"gpu": share * planned})
        checks, _ = check(run)
        assert checks["adapter", quantity]["ratio"] == pytest.approx(share)
        assert checks["adapter", quantity]["said"].startswith(said)
        assert bool(said) == bool(checks["adapter", quantity]["said"])
    change_history(run, memory={"gpu": 0.9 * planned})
    checks, _ = check(run)
    assert checks["joint", quantity]["said"].startswith("no more than before this phase")
    assert checks["joint", "a step (s)"]["predicted"] > 0
    assert checks["joint", "a step (s)"]["said"].endswith("of a step waits for data")


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["--check", *options])
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_what_cannot_be_checked(
    trained: Workspace, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds no training" in refusal(capsys, str(run / "nowhere"))
    two = ["--config", "a.yaml", "b.yaml", "--model_config", "m.yaml"]
    assert "holds 1 trainings, not 2" in refusal(capsys, str(run), *two)
    change(run, distributed=True)
    assert "give --gpus" in refusal(capsys, str(run))
    change(run, distributed=False, train_shape_file=["stats/text_tokens"])
    assert "stats/mixture.json" in refusal(capsys, str(run))
    change(run, llm_conf={"name": "somebody/new-llm"}, train_shape_file=[])
    assert "--data_stats" in refusal(capsys, str(run))
    assert "somebody/new-llm" in refusal(capsys, str(run), "--hours_of_audio", "1")
    change(run, llm_conf={"nam": "x"})
    planned = ["--config", str(trained.root / "stage.yaml"), "--hours_of_audio", "1"]
    assert f"{run}/stage1/config.yaml: llm_conf" in refusal(capsys, str(run), *planned)
    (run / "stage1/config.yaml").write_text("batch_size: 20\n")
    assert "is not that of a training of the task `part`" in refusal(capsys, str(run))


def test_needs_no_torch(run: Path) -> None:
    code = (
        "import sys; from espnet_part.bin.part_plan import main;"
        f"main(['--check', {str(run)!r}]);"
        "assert not {'torch', 'transformers', 'espnet2', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
