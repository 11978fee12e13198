"""Preflight: everything that is wrong is told before the first stage, a line each."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_part.errors import ConfigError
from espnet_part.recipe.preflight import (
    Findings,
    check_data,
    check_decoding,
    check_packing,
    check_scoring,
    check_training,
)
from espnet_part.recipe.training_options import option_errors, training_options, word_errors

ROOT = Path(__file__).parents[2]
MODEL = {
    "encoder_conf": {"config": {"d_model": 48}},
    "llm_conf": {"config": {"model_type": "qwen2"}, "tokenizer": "t"},
    "lora_conf": {"rank": 2},
    "prompts": str(ROOT / "conf/prompts.yaml"),
}


@pytest.fixture
def stages(tmp_path: Path) -> dict[int, str]:
    """The three stage files that all recipes share."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(MODEL))
    return {n: str(tmp_path / f"conf/system/part/stage{n}.yaml") for n in (1, 2, 3)}


def training_findings(stages: dict[int, str], model: Path, words: list[str] | None = None) -> str:
    found = Findings()
    check_training(found, stages, str(model), words or [])
    return "\n".join(found.lines)


def test_the_shared_configurations_are_right(stages: dict[int, str], tmp_path: Path) -> None:
    words = ["--batch_bins", "8000", "--optim_conf", "lr=1e-4", "--num_workers=2"]
    assert training_findings({1: stages[1]}, tmp_path / "model.yaml", words) == ""
    found = Findings()
    configs = list((ROOT / "conf/decode").glob("*.yaml"))
    assert configs
    for config in configs:
        check_decoding(found, str(config), ["--batch_size", "4"], str(tmp_path / "model.yaml"))
    check_scoring(found, str(ROOT / "conf/score.yaml"))
    assert found.lines == []


def test_every_stage_file_is_read_and_all_errors_are_told(
    stages: dict[int, str], tmp_path: Path
) -> None:
    def change(n: int, **values: object) -> None:
        path = Path(stages[n])
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))

    change(1, batch_binz=4)
    change(2, accum_grad="two", max_epoch=3)
    phase = {
        "name": "p",
        "train": ["adaptor"],
        "lr": {"adapter": 1e-3},
        "tasks": ["asr"],
        "steps": 1,
    }
    change(3, phases=[phase], optim_conf=[1], batch_size=0)
    said = training_findings(stages, tmp_path / "model.yaml")
    assert "stage1.yaml: unknown key `batch_binz`; did you mean `batch_bins`?" in said
    assert "stage2.yaml: accum_grad: must be a whole number: 'two'" in said
    assert "stage2.yaml: max_epoch: 3 would have no effect" in said
    assert "stage3.yaml: optim_conf: must be a mapping of keys: [1]" in said
    assert "stage3.yaml: batch_size: must be at least 1: 0" in said
    assert "stage3.yaml: phase p: train:" in said
    assert all(line.count("stage") >= 1 for line in said.split("\n"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--batch_bins abc --accum_grad 0", "batch_bins: must be a whole number: 'abc'"),
        ("--batch_bins abc --accum_grad 0", "accum_grad: must be at least 1: 0"),
        ("--batch_bins [", "batch_bins: must be a whole number: '['"),
        ("--use_amp maybe", "use_amp: must be true or false: 'maybe'"),
        ("--optim adamww", "optim: must be one of adam, adamw, "),
        ("--scheduler=warmuplrr", "scheduler: must be one of "),
        ("--keep_nbest_models 3 x", "keep_nbest_models: must be a whole number: 'x'"),
        ("--max_epoch 3", "max_epoch: 3 would have no effect"),
        ("--batch_bins", "batch_bins: needs a value"),
        ("--batch_bins 1 2", "batch_bins: takes one value: 1 2"),
        ("8000 --batch_bins 1", "8000: belongs to no option"),
        ("--optim_conf lr=[", "optim_conf: not valid YAML"),
        ("--best_model_criterion valid,accc,max", "['valid', 'accc', 'max'] must be train or"),
        ("--best_model_criterion valid,acc", "['valid', 'acc'] must be train or valid"),
        ("--val_scheduler_criterion valid los", "['valid', 'los'] must be train or valid"),
    ],
)
def test_values_of_more_options(
    stages: dict[int, str], tmp_path: Path, words: str, said: str
) -> None:
    found = training_findings({1: stages[1]}, tmp_path / "model.yaml", words.split())
    assert f"--part_args: {said}" in found.replace("best_model_criterion: [", "[").replace(
        "val_scheduler_criterion: [", "["
    )


def test_right_values_of_more_options(stages: dict[int, str], tmp_path: Path) -> None:
    words = (
        "--optim AdamW --scheduler none --keep_nbest_models 3 5 --use_amp 1 --log_level info "
        "--grad_clip 1e-3 --num_iters_per_epoch none --max_bins_per_gpu 1e6 --optim_conf lr=1e-4 "
        "--optim_conf '{eps: 1e-8}' --val_scheduler_criterion valid loss --max_cache_size 10MB "
        "--best_model_criterion valid,acc,max train,loss_asr,min --use_wandb true --patience none"
    )
    found = training_findings({1: stages[1]}, tmp_path / "model.yaml", shlex.split(words))
    assert found == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"optim": "adamww"}, "stage1.yaml: optim: must be one of adam, adamw, "),
        ({"scheduler": "warmuplrr"}, "stage1.yaml: scheduler: must be one of "),
        (
            {"best_model_criterion": [["valid", "accc", "max"]]},
            "one of acc, acc_asr, loss, loss_asr",
        ),
        (
            {"best_model_criterion": ["valid,acc,max"]},
            "best_model_criterion: 'valid,acc,max' must be",
        ),
        ({"best_model_criterion": "valid"}, "best_model_criterion: must be a list such as"),
        (
            {"val_scheduler_criterion": ["valid", "los"]},
            "val_scheduler_criterion: ['valid', 'los']",
        ),
        ({"optim": "AdamW", "scheduler": "WarmupLR", "keep_nbest_models": [2, 3]}, ""),
        ({"scheduler": "none", "log_level": "info"}, ""),
    ],
)
def test_what_would_fail_when_training_begins(
    stages: dict[int, str], tmp_path: Path, values: dict[str, object], said: str
) -> None:
    path = Path(stages[1])
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))
    found = training_findings({1: stages[1]}, tmp_path / "model.yaml")
    assert said in found if said else not found


def test_a_task_without_prompts_and_a_broken_model(stages: dict[int, str], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("asr: {en: ['{speech} Transcribe.']}\n")
    model = tmp_path / "other.yaml"
    model.write_text(yaml.safe_dump({**MODEL, "prompts": str(prompts)}))
    assert "has no wording for the task s2tt" in training_findings(stages, model)
    model.write_text(yaml.safe_dump({**MODEL, "lora_konf": {}}))
    assert "unknown key `lora_konf`" in training_findings(stages, model)
    assert "no such file" in training_findings(stages, tmp_path / "none.yaml")


def test_a_model_that_stage_4_makes_is_checked_later(
    stages: dict[int, str], tmp_path: Path
) -> None:
    model = tmp_path / "later.yaml"
    model.write_text(yaml.safe_dump({**MODEL, "llm_conf": {"name": "exp/llm/later"}}))
    found = Findings()
    assert not check_training(found, stages, str(model), [])
    assert found.lines == []


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ("beam_sise: 2", [], "unknown key `beam_sise`; did you mean `beam_size`?"),
        ("beam_size: two", [], "beam_size"),
        ("beam_size: 0", [], "beam_size"),
        ("{}", ["--beam_size", "many"], "--inference_args"),
        ("{}", ["--batch_size", "0"], "`batch_size` must be at least 1"),
        ("batch_bins: 0", [], "`batch_bins` must be at least 1"),
    ],
)
def test_decode_configurations(tmp_path: Path, content: str, words: list[str], said: str) -> None:
    (tmp_path / "decode.yaml").write_text(content)
    found = Findings()
    check_decoding(found, str(tmp_path / "decode.yaml"), words, "")
    assert len(found.lines) == 1 and said in found.lines[0]


def test_a_search_that_asks_what_the_adapter_hears_needs_one_that_does(tmp_path: Path) -> None:
    decode, model = tmp_path / "decode.yaml", tmp_path / "model.yaml"
    decode.write_text("ctc_margin: 3")
    model.write_text(yaml.safe_dump(MODEL))
    found = Findings()
    check_decoding(found, str(decode), [], str(model))
    assert found.lines == [
        f"{decode} with {model}: ctc_margin: the model's speech_adapter does not hear by itself "
        "(`ctc_spelling` does)"
    ]
    spelling = {"speech_adapter": "ctc_spelling", "speech_adapter_conf": {"characters": "ab "}}
    model.write_text(yaml.safe_dump({**MODEL, **spelling}))
    found = Findings()
    check_decoding(found, str(decode), [], str(model))
    assert found.lines == []


def test_more_options_of_packing() -> None:
    found = Findings()
    check_packing(found, ["--license", "cc-by-4.0"])
    assert found.lines == []
    check_packing(found, ["--licence", "cc-by-4.0"])
    check_packing(found, ["--hf_private", "perhaps"])
    assert len(found.lines) == 2 and all(line.startswith("--pack_args: ") for line in found.lines)
    assert "--licence" in found.lines[0] and "perhaps" in found.lines[1]


def test_options_are_those_of_the_real_parser() -> None:
    """Also those of another release of ESPnet, whose source is read and not run."""
    pytest.importorskip("espnet2")
    from espnet_part.bin.part_train import get_parser

    actions = get_parser()._actions
    real = {action.dest for action in actions} - {"help", "model_config", "num_threads"}
    assert set(training_options()) >= real
    assert (
        option_errors({"batch_bins": 10, "grad_clip": 1, "use_amp": True, "optim": "adamw"}, "")
        == []
    )
    assert word_errors(["--seed", "1", "--seeed=2"], "x") == [
        "x: unknown key `seeed`; did you mean `seed`?"
    ]


def test_data_without_a_task_that_is_trained(tmp_path: Path) -> None:
    for dset, tasks in (("train", ["asr", "s2tt"]), ("valid", ["asr"])):
        (tmp_path / dset).mkdir()
        lines = [f"u{n} {task}\n" for n, task in enumerate(tasks)]
        (tmp_path / dset / "utt2task").write_text("".join(lines))
        (tmp_path / dset / "utt2lang").write_text("u0 de\n")
    stage = tmp_path / "stage1.yaml"

    def check(tasks: str) -> list[str]:
        stage.write_text(
            f"phases: [{{name: p, train: [adapter], lr: {{adapter: 1.0}}, tasks: {tasks}, steps: 1}}]"
        )
        warnings: list[str] = []
        check_data([str(stage)], tmp_path / "train", tmp_path / "valid", warnings.append)
        return warnings

    assert check("[asr]") == []
    assert "no example of s2tt" in check("[asr, s2tt]")[0]
    with pytest.raises(ConfigError, match="no example of `t2tt`"):
        check("[t2tt]")
    (tmp_path / "train/utt2lang").write_text("u0 qqq9\n")
    with pytest.raises(ConfigError, match="qqq9"):
        check("[asr]")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, espnet_part.recipe.part; print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
