"""The task as ESPnet and its users see it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.tiny import ADAPTER, Workspace, model_config, stage


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("task"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phases": [{**ADAPTER, "steps": 1, "trian": 1}]}, "unknown key `trian`; did you mean"),
        ({"phases": [{**ADAPTER, "steps": 1, "train": ["adaptor"]}]}, "`adaptor` matches nothing"),
        ({"phases": [{**ADAPTER, "steps": 1, "tasks": ["mt"]}]}, "unknown key `mt`"),
        ({"phases": None}, "`phases` is missing"),
    ],
)
def test_a_typo_costs_a_second(workspace: Workspace, changes: dict, said: str) -> None:
    """Found before torch or ESPnet are imported, which take many times as long."""
    content = {k: v for k, v in {**stage([]), **changes}.items() if v is not None}
    workspace.write("bad.yaml", content)
    code = (
        "import atexit, sys\n"
        "heavy = lambda: sys.stderr.write('torch is imported') if 'torch' in sys.modules else None\n"
        "atexit.register(heavy)\n"
        "from espnet_part.bin import part_train\n"
        "part_train.main(sys.argv[1:])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *workspace.command("bad.yaml", "bad")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "torch" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("part_train: error:")
    assert "bad.yaml" in line
    assert said in line


def test_an_unknown_option_in_a_file_is_refused(workspace: Workspace) -> None:
    from espnet_part.errors import ConfigError
    from espnet_part.task import PARTTask

    workspace.write("bad.yaml", stage([{**ADAPTER, "steps": 1}], batch_sizes=3))
    with pytest.raises(ConfigError, match=r"bad\.yaml: unknown key `batch_sizes`; did you mean"):
        PARTTask.parse(workspace.command("bad.yaml", "bad"))


def test_an_unknown_option_of_the_model_is_refused(workspace: Workspace) -> None:
    """Also one that ESPnet has (`adapter_conf`) and that would leave ours at its default."""
    from espnet_part.errors import ConfigError
    from espnet_part.stage_file import read_shapes

    path = workspace.write("bad_model.yaml", {**model_config(workspace.root), "adapter_conf": {}})
    with pytest.raises(ConfigError, match="unknown key `adapter_conf`; did you mean"):
        read_shapes(str(path))


def test_the_command_line_goes_before_the_files(workspace: Workspace) -> None:
    from espnet_part.task import PARTTask

    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 1}]))
    args = PARTTask.parse(workspace.command("stage.yaml", "exp", "--batch_size", "7"))
    assert args.batch_size == 7
    assert args.num_iters_per_epoch == 4
    assert args.encoder_conf["config"]["d_model"] == 16


@pytest.mark.skipif(
    importlib.util.find_spec("espnetez") is None, reason="ESPnet has no espnetez since 202609"
)
@pytest.mark.skipif(
    importlib.util.find_spec("pyworld") is None,
    reason="espnetez of 202511 imports pyworld, which cannot be installed without a compiler",
)
def test_importing_the_package_registers_it_with_espnetez() -> None:
    code = """
import sys, espnet_part
assert "torch" not in sys.modules and "espnetez" not in sys.modules
import espnetez.task
from espnet_part.task import PARTTask
assert espnetez.task.TASK_CLASSES["part"] is PARTTask
assert issubclass(espnetez.task.get_ez_task("part"), PARTTask)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", ["part_describe", "part_train"])
def test_help_is_for_people(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", f"espnet_part.bin.{command}", "--help"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert "--config" in result.stdout


def test_describe_shows_what_trains(workspace: Workspace) -> None:
    workspace.write("stage.yaml", stage([{**ADAPTER, "steps": 12}]))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "espnet_part.bin.part_describe"),
            *("--config", str(workspace.root / "stage.yaml")),
            *("--model_config", str(workspace.root / "model.yaml")),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert "| adapter | 12 steps | adapter | adapter 1.344 k (6 tensors)" in result.stdout
