"""The benchmark of a training step on a few short clips and small models."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools/bench/training_step.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_step", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "training_step", module)  # dataclasses look it up
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    spec.loader.exec_module(module)
    small = {"d_model": 16, "encoder_layers": 1, "encoder_ffn_dim": 16}
    monkeypatch.setattr(module, "ENCODER", {**module.ENCODER, **small})
    small = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    monkeypatch.setattr(module, "LANGUAGE_MODEL", {**module.LANGUAGE_MODEL, **small})
    return module


def test_every_system_runs(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--clips", "6", "--mean_seconds", "1.5", "--threads", "1", "--bins", "300"]
    options += ["--trained", "adapter+encoder+lora", "--repetitions", "1", "--hf_steps", "1"]
    variants = ["pad_to_30s", "head_everywhere", "unplanned"]
    bench.main([*options, "--variants", *variants, "--json", str(tmp_path / "costs.json")])
    printed = capsys.readouterr().out.splitlines()
    rows = [line for line in printed if line.startswith("| adapter+encoder+lora | 1 |")]
    records = {r["system"]: r for r in json.loads((tmp_path / "costs.json").read_text())}
    assert len(rows) == len(records) == 5
    own = {name: record for name, record in records.items() if name.startswith("this project")}
    for record in own.values():
        assert record["clips"] == 6 and record["cpu"] > 0
        assert record["audio"] == pytest.approx(9.0, abs=0.01)
    # of clips of 1.5 s, 30 s of padding are nearly everything
    padding = {
        name: bench.padding_share(bench.Cost(**strip(r)), "encoder") for name, r in own.items()
    }
    assert padding["this project, pad_to_30s"] > 0.9
    assert padding["this project"] < 0.5
    assert padding["this project, unplanned"] < 0.9


def strip(record: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in record.items() if k not in ("trained", "threads", "system")}
