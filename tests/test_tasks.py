"""Tasks: what they ask of languages, and that another package adds one with an entry and its prompts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_part import tasks
from espnet_part.errors import ConfigError
from espnet_part.tasks import ASR, S2TT, TASKS, Task

PLUGIN = """
from espnet_part.tasks import Task

ANSWERS = Task(
    name="sqa",
    title="spoken question answering",
    speech=True,
    text=True,
    writes="any",
    scored_by="bleu",
)
"""
PROMPTS = {"sqa": {"en": ["{speech} {source} Answer in {tgt}.", "{source}\n{speech}"]}}


def test_languages_of_a_task() -> None:
    assert ASR.target("de") == "de"
    assert S2TT.target("de") == ""
    assert S2TT.target("de", "en") == "en"
    assert ASR.why_not("de", "de") == ""
    assert ASR.why_not("de", "en") == "asr writes the language that it reads: de to en"
    assert S2TT.why_not("de", "de") == "s2tt writes another language than it reads: de to de"


def test_a_task_reads_something() -> None:
    with pytest.raises(ValueError, match="reads neither"):
        Task(name="x", title="x", speech=False, text=False, writes="any", scored_by="bleu")


def test_tasks_in_their_order() -> None:
    assert list(TASKS) == ["asr", "s2tt", "t2tt"]
    assert sorted(["zzz", "t2tt", "asr"], key=tasks.by_rank) == ["asr", "t2tt", "zzz"]
    assert "sqa" not in TASKS


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `pip install --target` leaves it, on the path of this process and its children."""
    folder = tmp_path / "site"
    installed = folder / "spoken_answers-1.0.dist-info"
    installed.mkdir(parents=True)
    (folder / "spoken_answers.py").write_text(PLUGIN)
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: spoken-answers\nVersion: 1.0\n"
    )
    _point(folder, "sqa = spoken_answers:ANSWERS")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(TASKS, "_all", None)
    monkeypatch.delitem(sys.modules, "spoken_answers", raising=False)
    return folder


def _point(folder: Path, line: str) -> None:
    path = folder / "spoken_answers-1.0.dist-info" / "entry_points.txt"
    path.write_text(f"[{tasks.GROUP}]\n{line}\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sqa = spoken_answers:NOTHING", "cannot be loaded: .*NOTHING"),
        ("sqa = not_installed:X", "cannot be loaded: ModuleNotFoundError: No module"),
        ("qa = spoken_answers:ANSWERS", "must be a Task of the name qa"),
        ("asr = spoken_answers:ANSWERS", "must be a Task of the name asr"),
    ],
)
def test_a_wrong_entry_point_is_named(plugin: Path, line: str, message: str) -> None:
    _point(plugin, line)
    with pytest.raises(
        ConfigError, match=f"the entry point {line.split()[0]} of {tasks.GROUP}.*{message}"
    ):
        list(TASKS)
    assert TASKS["asr"] is ASR


def test_another_task_is_one_entry_and_its_prompts(plugin: Path, tmp_path: Path) -> None:
    """Spoken question answering, from a data directory through training and decoding to scores."""
    from espnet_part.bin.part_inference import main as part_inference
    from espnet_part.bin.part_score import main as part_score
    from espnet_part.bin.part_validate_data import main as part_validate_data
    from espnet_part.data.datadir import DataDir, Example
    from tests.train.tiny import Workspace, stage

    workspace = Workspace(tmp_path / "work")
    workspace.write("prompts.yaml", PROMPTS)
    for name in ("train", "valid"):
        spoken, _ = DataDir.load(workspace.root / name, [ASR.name])
        heard = {e.utt_id: (e.audio, e.num_samples) for e in spoken if e.task == ASR.name}
        questions = [
            Example(f"{utt}-q", "sqa", "de", tgt, answer, "was ist alt", audio, num_samples=count)
            for utt, (audio, count) in heard.items()
            for tgt, answer in [("de" if "en" in utt else "en", "the house")]
        ]
        DataDir.write(workspace.root / name, questions)
    valid = workspace.root / "valid"
    part_validate_data([str(valid)])

    phase = {
        "name": "answers",
        "train": ["adapter"],
        "lr": {"adapter": 1e-2},
        "tasks": ["sqa"],
        "steps": 2,
    }
    workspace.write("stage.yaml", stage([phase]))
    command = [sys.executable, "-m", "espnet_part.bin.part_train"]
    done = subprocess.run(
        [*command, *workspace.command("stage.yaml", "exp")],
        env={**os.environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    exp = workspace.root / "exp"
    assert "loss_sqa" in json.loads((exp / "history.jsonl").read_text().splitlines()[-1])["train"]

    out = workspace.root / "decoded" / "logdir" / "output.1"
    part_inference(
        [
            *("--part_train_config", str(exp / "config.yaml")),
            *("--part_model_file", str(exp / "valid.acc.ave.safetensors")),
            *("--data_dir", str(valid), "--output_dir", str(out), "--max_new_tokens", "5"),
        ]
    )
    part_score(["--ref_dir", str(valid), "--hyp_dir", str(workspace.root / "decoded")])
    score = json.loads((workspace.root / "decoded" / "score.json").read_text())
    assert score["tasks"]["sqa"]["bleu"].keys() == {"de", "de-en"}
    assert "BLEU and chrF++ (sqa)" in (workspace.root / "decoded" / "result.md").read_text()


def test_what_a_prompt_must_hold_follows_the_task(plugin: Path) -> None:
    from espnet_part.data.datadir import Example
    from espnet_part.data.prompts import Prompts

    prompts = Prompts.from_mapping(PROMPTS, "p.yaml")
    question = Example("u", "sqa", "de", "en", "", "wer?", audio="a.wav")
    rendered = prompts.render(question)
    assert (rendered.before, rendered.after) == ("", " wer? Answer in English.")
    with pytest.raises(ConfigError, match=r"\{source\} must stand in it once"):
        Prompts.from_mapping(yaml.safe_load("sqa: {en: ['{speech}']}"), "p.yaml")
