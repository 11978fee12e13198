"""part_analyze from an experiment to pictures, twice; and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from espnet_part.bin.part_analyze import main
from espnet_part.data.datadir import DataDir, Example
from espnet_part.parsing import read_json
from tests.analysis.conftest import data_dir, examples
from tests.decode.conftest import exp

__all__ = ["data_dir", "examples", "exp"]

SMALL = ["--batches", "2", "--batch_size", "3", "--utterances", "12"]


@pytest.fixture
def experiment(exp: Path, tmp_path: Path) -> Path:
    """An experiment of one stage with two phases, the first of whose models is gone."""
    stage = tmp_path / "exp" / "part_x0.5" / "stage1"
    stage.mkdir(parents=True)
    shutil.copy(exp / "config.yaml", stage)
    shutil.copy(exp / "model.safetensors", stage / "2epoch.safetensors")
    lines = [{"phase": "first", "epoch": 1}, {"phase": "second <b>", "epoch": 2}]
    (stage / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return stage.parent


def test_pictures_tables_and_a_page(
    experiment: Path, data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "analysis"
    command = ["--model", str(experiment), "--data_dir", str(data_dir), "--out", str(out), *SMALL]
    main(command)
    assert "1epoch.safetensors, the last model of phase first, is gone" in caplog.text
    entries = read_json(out / "analysis.json")
    assert [entry["picture"] for entry in entries] == [
        "gradients_part_x0.5_stage1_second_b_.png",
        "layers_part_x0.5.png",
        "projection_part_x0.5_stage1_second_b_.png",
    ]
    page = (out / "ANALYSIS.md").read_text()
    for entry in entries:
        assert (out / entry["picture"]).read_bytes().startswith(b"\x89PNG")
        pdf = out / entry["picture"].replace(".png", ".pdf")
        assert pdf.read_bytes().startswith(b"%PDF")
        assert f"({entry['picture']})" in page
        table = (out / entry["table"]).read_text().splitlines()
        assert len(table) > 2 and len({line.count("\t") for line in table}) == 1
    assert "<b>" not in "".join(line for line in page.splitlines() if not line.startswith("- "))
    modules = {
        line.split("\t")[0] for line in (out / entries[0]["table"]).read_text().splitlines()[1:]
    }
    assert modules == {"encoder (rest)", "encoder.layers.0", "adapter", "llm.lora"}

    # again: nothing is computed, and everything is the same
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    results = {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()}
    main(command)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()} == results


def test_two_models_of_one_name_are_refused(
    experiment: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / experiment.name
    shutil.copytree(experiment, other)
    out = tmp_path / "analysis"
    with pytest.raises(SystemExit):
        main(
            [
                *("--model", str(experiment), str(other), "--data_dir", str(data_dir)),
                *("--out", str(out), *SMALL),
            ]
        )
    assert "are both called part_x0.5, stage1 second" in capsys.readouterr().err


def test_an_unreadable_recording_is_named_and_left_out(
    experiment: Path, examples: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = str(tmp_path / "gone.wav")
    changed = [
        dataclasses.replace(e, audio=gone) if e.utt_id.startswith("de3-") else e for e in examples
    ]
    DataDir.write(tmp_path / "data", changed)
    out = tmp_path / "analysis"
    command = ["--model", str(experiment), "--data_dir", str(tmp_path / "data"), "--out", str(out)]
    main([*command, *SMALL, "--what", "layers"])
    assert "de3-asr: left out" in caplog.text
    assert (out / "layers_part_x0.5.png").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch_size", "7"], "fewer than two batches of 7"),
        (["--groups", "asr xx"], "--groups: asr xx: the data have asr de, asr en, s2tt de-en"),
        (["--memory_gb", "0"], "--memory_gb must be positive"),
        (["--batches", "1"], "at least 2"),
        (["--model", "nowhere"], "nowhere: neither a file nor a directory"),
        (["--data_dir", "nowhere"], "nowhere"),
    ],
)
def test_one_line_for_what_is_wrong(
    experiment: Path,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    out = tmp_path / "analysis"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "--model",
                str(experiment),
                "--data_dir",
                str(data_dir),
                "--out",
                str(out),
                *SMALL,
                *options,
            ]
        )
    error = capsys.readouterr().err
    assert ended.value.code in (1, 2) and said in error
    if ended.value.code == 1:  # else it is argparse's
        assert error.count("\n") == 1
    assert not out.exists()
