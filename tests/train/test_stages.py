"""A stage starts from what the one before it trained, and keeps it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from espnet_part.data.datadir import DataDir
from espnet_part.weights import read_header
from tests.train.launch import part_train
from tests.train.tiny import ADAPTER, JOINT, LORA_ONLY, TOP, Workspace, model_config, stage


@pytest.fixture(scope="module")
def first(workspace: Workspace) -> Path:
    """A finished stage that trained the adapter and the encoder's top."""
    workspace.write("first.yaml", stage([{**ADAPTER, "steps": 2}, {**TOP, "steps": 4}]))
    log = workspace.root / "first.log"
    assert part_train(workspace.command("first.yaml", "first"), log) == 0, log.read_text()
    return workspace.root / "first" / "valid.acc.ave.safetensors"


def test_peer_defect_02_what_an_earlier_stage_trained_is_kept(
    workspace: Workspace, first: Path, log: Path
) -> None:
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "second", "--part_init", str(first))
    assert part_train(cmd, log) == 0, log.read_text()
    before, after = (load_file(f) for f in (first, workspace.root / "second/latest.safetensors"))
    assert any(name.startswith("encoder.layers.2") for name in before)
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    assert any(".lora_" in name for name in after.keys() - before.keys())
    assert "loaded encoder 15, adapter" in log.read_text()


def test_only_ever_trained_weights_are_saved(first: Path) -> None:
    groups = {name.split(".")[0] for name in load_file(first)}
    assert groups == {"adapter", "encoder"}
    assert not any(name.startswith("encoder.layers.0") for name in load_file(first))


def test_a_phase_that_runs_no_llm_tells_no_accuracy(workspace: Workspace, log: Path) -> None:
    config = model_config(workspace.root, speech_adapter="ctc_spelling")
    sizes = {"dim": 16, "heads": 2, "ff": 32, "layers": 1}
    config["speech_adapter_conf"] = {**sizes, "characters": " abcdefghijklmnopqrstuvwxyz"}
    model = workspace.write("spelling_model.yaml", config)
    spelling = {**ADAPTER, "name": "spelling", "loss": "adapter", "steps": 4}
    workspace.write("spelling.yaml", stage([spelling, {**ADAPTER, "steps": 4}]))
    cmd = workspace.command("spelling.yaml", "spelling", "--model_config", str(model))
    assert part_train(cmd, log) == 0, log.read_text()
    lines = (workspace.root / "spelling/history.jsonl").read_text().splitlines()
    one, two = map(json.loads, lines)
    assert one["phase"] == "spelling" and one["train"]["loss"] > 0
    assert not any(key.startswith("acc") for key in one["train"])
    assert "acc" in one["valid"] and "acc" in two["train"] and "acc" in two["valid"]


def test_another_base_model_is_refused(workspace: Workspace, first: Path, log: Path) -> None:
    config = model_config(workspace.root)
    config["llm_conf"]["config"]["rope_theta"] = 5e5  # same shapes, another model
    workspace.write("other_model.yaml", config)
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "other", "--part_init", str(first))
    cmd[cmd.index("--model_config") + 1] = str(workspace.root / "other_model.yaml")
    assert part_train(cmd, log) == 1
    assert "was trained on another llm" in log.read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_conf": {"rank": 2, "alpha": 8, "targets": ["q_proj", "v_proj"]}}, "lora"),
        ({"encoder_conf": {"pad_to_30s": True}}, "encoder"),
        ({"speech_adapter_conf": {"embedding_norm": False}}, "adapter"),
    ],
    ids=["lora", "encoder", "adapter"],
)
def test_a_model_that_computes_something_else_is_refused(
    workspace: Workspace, log: Path, changes: dict[str, Any], said: str
) -> None:
    workspace.write("lora.yaml", stage([{**LORA_ONLY, "steps": 2}]))
    cmd = workspace.command("lora.yaml", "computes")
    if not (workspace.root / "computes").exists():
        assert part_train(cmd, log) == 0, log.read_text()
    config = model_config(workspace.root)
    for key, values in changes.items():
        config[key].update(values)
    model = workspace.write("changed_model.yaml", config)
    assert part_train([*cmd, "--model_config", str(model)], log) == 1
    assert f"was trained with other settings of the {said}" in log.read_text().splitlines()[-1]


def test_another_tokenizer_is_refused(workspace: Workspace, first: Path, log: Path) -> None:
    config = model_config(workspace.root)
    other = workspace.root / "other_tokenizer"
    shutil.copytree(workspace.root / "tokenizer", other)
    settings = json.loads((other / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    )
    (other / "tokenizer_config.json").write_text(json.dumps(settings))
    config["llm_conf"]["tokenizer"] = str(other)
    model = workspace.write("retokenized.yaml", config)
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "retokenized", "--part_init", str(first))
    assert part_train([*cmd, "--model_config", str(model)], log) == 1
    assert "other settings of the tokenizer" in log.read_text().splitlines()[-1]


def test_changed_texts_are_named_on_resuming(workspace: Workspace, log: Path) -> None:
    copy = workspace.root / "corrected"
    examples, _ = DataDir.load(workspace.root / "train")
    DataDir.write(copy, examples)
    workspace.write("long.yaml", stage([{**ADAPTER, "steps": 6}], save_interval=2))
    cmd = workspace.command("long.yaml", "corrected_run", "--train_data_dir", str(copy))
    assert part_train(cmd, log, kill=("espnet_part.train.trainer:train_step", 5)) == -9
    DataDir.write(copy, [dataclasses.replace(examples[0], text="die katze"), *examples[1:]])
    assert part_train(cmd, log) == 0, log.read_text()
    assert "changed since the checkpoint was written: data; going on" in log.read_text()


def test_the_next_stage_hears_first_what_was_not_heard(workspace: Workspace, log: Path) -> None:
    """Twelve utterances in steps of four: one step in the first stage, two in the second."""
    for name, steps, more in (
        ("hears_some", 1, ()),
        ("hears_rest", 2, ("--part_init", "{}/hears_some/latest.safetensors")),
    ):
        workspace.write(f"{name}.yaml", stage([{**ADAPTER, "steps": steps}]))
        options = [word.format(workspace.root) for word in more]
        cmd = workspace.command(f"{name}.yaml", name, *options)
        assert part_train(cmd, log, record_heard=workspace.root / f"{name}.txt") == 0
    some, rest = (
        (workspace.root / f"{name}.txt").read_text().split()
        for name in ("hears_some", "hears_rest")
    )
    assert (len(some), len(rest)) == (4, 8)
    assert len({*some, *rest}) == 12


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "damaged"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "not a file of trained weights"),
    ],
    ids=["truncated", "missing", "foreign"],
)
def test_an_unusable_start_is_refused(
    workspace: Workspace, first: Path, log: Path, damage, said: str
) -> None:
    copy = workspace.root / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    damage(copy)
    workspace.write("second.yaml", stage([{**LORA_ONLY, "steps": 3}]))
    cmd = workspace.command("second.yaml", "refused", "--part_init", str(copy))
    assert part_train(cmd, log) == 1
    assert said in log.read_text().splitlines()[-1]


def test_the_header_says_where_the_weights_come_from(first: Path) -> None:
    metadata, _ = read_header(first)
    assert {base["part"] for base in metadata["base_models"]} == {"encoder", "llm"}
    assert metadata["phase"] == "top"


def test_weights_say_what_they_were_trained_on(
    workspace: Workspace, first: Path, log: Path
) -> None:
    asr = [["asr", "de", "de"], ["asr", "en", "en"]]
    assert read_header(first)[0]["strata"] == asr
    workspace.write("text.yaml", stage([{**LORA_ONLY, "tasks": ["t2tt"], "steps": 1}]))
    cmd = workspace.command("text.yaml", "text", "--part_init", str(first))
    assert part_train(cmd, log) == 0, log.read_text()
    header, _ = read_header(workspace.root / "text/valid.acc.ave.safetensors")
    assert header["strata"] == [*asr, ["t2tt", "de", "en"], ["t2tt", "en", "de"]]


def test_averaging_the_last_models(workspace: Workspace, log: Path) -> None:
    workspace.write("average.yaml", stage([{**ADAPTER, "steps": 12}], average_last=2))
    assert part_train(workspace.command("average.yaml", "average"), log) == 0, log.read_text()
    directory = workspace.root / "average"
    second, third = (load_file(directory / f"{n}epoch.safetensors") for n in (2, 3))
    for name, tensor in load_file(directory / "last.ave_2.safetensors").items():
        torch.testing.assert_close(tensor, (second[name] + third[name]) / 2)


def test_an_earlier_run_is_never_overwritten(workspace: Workspace, first: Path, log: Path) -> None:
    cmd = workspace.command("first.yaml", "first", "--resume", "false")
    assert part_train(cmd, log) == 1
    assert "holds an earlier run" in log.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"best_model_criterion": [["valid", "wer", "min"]]}, "best_model_criterion"),
        ({"max_llm_length": 5}, "tasks: no data for asr"),
    ],
)
def test_what_would_fail_late_fails_at_once(
    workspace: Workspace, log: Path, options: dict, said: str
) -> None:
    workspace.write("late.yaml", stage([{**ADAPTER, "steps": 2}], **options))
    assert part_train(workspace.command("late.yaml", "late"), log) == 1
    assert said in log.read_text()
    assert "epoch:train" not in log.read_text()


def test_validation_without_the_tasks_fails_at_once(workspace: Workspace, log: Path) -> None:
    valid = workspace.root / "text_only"
    examples, _ = DataDir.load(workspace.root / "valid")
    DataDir.write(valid, [e for e in examples if e.task == "t2tt"])
    workspace.write("late.yaml", stage([{**ADAPTER, "steps": 2}]))
    cmd = workspace.command("late.yaml", "late", "--valid_data_dir", str(valid))
    assert part_train(cmd, log) == 1
    assert "valid: no example of any task of the stage (asr)" in log.read_text()


@pytest.mark.parametrize("split", ["train", "valid"])
def test_bad_audio_is_named_and_stops_when_it_is_too_much(
    workspace: Workspace, log: Path, split: str
) -> None:
    broken = workspace.root / f"broken_{split}"
    examples = []
    for number, example in enumerate(DataDir.load(workspace.root / split)[0]):
        if number % 9 == 0:  # every third example of ASR
            path = workspace.root / f"junk{number}.wav"
            path.write_bytes(b"junk" * 100)
            example = dataclasses.replace(example, audio=str(path))
        examples.append(example)
    DataDir.write(broken, examples)
    bad = sum("junk" in (e.audio or "") and e.task == "asr" for e in examples)
    assert bad
    workspace.write("bad.yaml", stage([{**ADAPTER, "epochs": 1}], batch_size=3))
    cmd = workspace.command("bad.yaml", f"bad_{split}", f"--{split}_data_dir", str(broken))
    output = workspace.root / f"bad_{split}"
    output.mkdir()
    for stale in ("valid.0", "valid.3", "train.3"):  # of a run of more processes
        (output / f"bad_utterances.{stale}.tsv").write_text("u\tno such file\n")
    assert part_train(cmd, log) == 0, log.read_text()
    (named,) = output.glob("bad_utterances.*")
    assert named.name == f"bad_utterances.{split}.0.tsv"
    assert len(set(named.read_text().splitlines())) == bad


def test_a_task_that_is_trained_and_not_validated_is_named(workspace: Workspace, log: Path) -> None:
    valid = workspace.root / "without_s2tt"
    examples, _ = DataDir.load(workspace.root / "valid")
    DataDir.write(valid, [e for e in examples if e.task != "s2tt"])
    workspace.write("unseen.yaml", stage([{**JOINT, "steps": 1}]))
    cmd = workspace.command("unseen.yaml", "unseen", "--valid_data_dir", str(valid))
    assert part_train(cmd, log) == 0, log.read_text()
    assert "WARNING: validation: no example of s2tt, which the stage trains" in log.read_text()


def test_a_changed_batch_size_starts_a_new_pass_on_resuming(
    workspace: Workspace, log: Path
) -> None:
    workspace.write("first.yaml", stage([{**ADAPTER, "steps": 6}], save_interval=2))
    cmd = workspace.command("first.yaml", "rebatched")
    assert part_train(cmd, log, kill=("espnet_part.train.trainer:train_step", 5)) == -9
    assert part_train([*cmd, "--batch_size", "2"], log) == 0, log.read_text()
    assert "changed since the checkpoint was written: batch sizes; going on" in log.read_text()


def test_later_phases_may_change_on_resuming(workspace: Workspace, log: Path) -> None:
    phases = [{**ADAPTER, "steps": 4}, {**TOP, "steps": 2}]
    workspace.write("before.yaml", stage(phases, save_interval=2))
    cmd = workspace.command("before.yaml", "replanned")
    assert part_train(cmd, log, kill=("espnet_part.train.trainer:train_step", 5)) == -9
    workspace.write("before.yaml", stage([phases[0], {**LORA_ONLY, "steps": 2}], save_interval=2))
    assert part_train(cmd, log) == 0, log.read_text()
    names = load_file(workspace.root / "replanned" / "latest.safetensors")
    assert {name.split(".")[0] for name in names} == {"adapter", "llm"}
