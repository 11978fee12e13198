"""Plans of whole schedules, through the command."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_part.bin.part_plan import main

REPOSITORY = Path(__file__).parents[2]
STAGES = [str(REPOSITORY / f"conf/system/part/stage{n}.yaml") for n in (1, 2, 3)]
PART_2B = str(REPOSITORY / "conf/model/whisper_large_v3_qwen2.5_1.5b.yaml")
PHASE = {"name": "one", "train": ["adapter"], "lr": {"adapter": 1e-3}, "tasks": ["asr"]}


def plan(tmp_path: Path, *options: str, config: list[str] = STAGES) -> dict[str, Any]:
    file = tmp_path / "plan.json"
    given = {"--data_stats", "--hours_of_audio"} & set(options)
    data = [] if given else ["--hours_of_audio", "1000"]
    try:
        main(["--config", *config, "--model_config", PART_2B, "--json", str(file), *data, *options])
        code = 0
    except SystemExit as stopped:
        if not file.exists():
            raise
        code = stopped.code
    result = json.loads(file.read_text())
    file.unlink()
    assert code == (0 if all(phase["fits"] for phase in result["phases"]) else 1)
    return result


def stage(tmp_path: Path, phase: dict[str, Any], **options: Any) -> str:
    path = tmp_path / "stage.yaml"
    values = {"batch_bins": 160000, "use_amp": True, **options, "phases": [{**PHASE, **phase}]}
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_every_phase_has_its_parameters_memory_data_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = plan(tmp_path, "--gpus", "8", "--gpu-memory", "80")
    phases = {p["phase"]: p for p in result["phases"]}
    assert list(phases) == ["adapter", "encoder_top", "encoder_all", "joint", "text"]
    assert phases["joint"]["parameters"] == {
        "encoder": 635048960,
        "adapter": 46238976,
        "llm": 1089536,
    }
    for phase in phases.values():
        parts = {k: v for k, v in phase["memory"].items() if k not in ("peak", "optimizer_step")}
        assert sum(parts.values()) == pytest.approx(phase["memory"]["peak"])
        assert phase["headroom"] == 80 * 2**30 - phase["memory"]["peak"]
        assert phase["epochs"] == pytest.approx(phase["hours"] / 1000)
        assert phase["seconds"] == pytest.approx(
            phase["steps"] * phase["flops"]["total"] / (8 * 312e12 * 0.35)
        )
    assert result["total"]["seconds"] == sum(p["seconds"] for p in phases.values())
    said = capsys.readouterr().out
    assert "encoder 635 M, adapter 46.24 M, llm 1.09 M" in said
    assert "312 TFLOP/s a GPU, of which 35 %" in said


def test_a_phase_that_learns_by_the_adapters_loss_runs_no_llm(tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    values = {"base": PART_2B, "speech_adapter": "ctc_spelling"}
    model.write_text(yaml.safe_dump({**values, "speech_adapter_conf": {"characters": " abc"}}))
    plans = {}
    for loss in ("adapter", "answer"):
        config = [stage(tmp_path, {"loss": loss, "steps": 10})]
        found = plan(tmp_path, "--model_config", str(model), config=config)["phases"]
        plans[loss] = found[0]
    alone, whole = plans["adapter"], plans["answer"]
    assert alone["memory"]["llm_weights"] == whole["memory"]["llm_weights"] > 0
    assert alone["memory"]["llm_activations"] == alone["memory"]["scores"] == 0
    assert alone["memory"]["peak"] < whole["memory"]["peak"]
    assert alone["seconds"] < 0.5 * whole["seconds"]


def test_an_llm_that_trains_is_float32_in_all_phases_of_its_stage(tmp_path: Path) -> None:
    def llm_weights(*trained: list[str]) -> list[float]:
        path = tmp_path / "stage.yaml"
        phases = [
            {**PHASE, "name": f"p{n}", "train": names, "lr": dict.fromkeys(names, 1e-5), "steps": 9}
            for n, names in enumerate(trained)
        ]
        path.write_text(
            yaml.safe_dump({"batch_bins": 9000, "use_amp": True, "phases": phases}),
        )
        found = plan(tmp_path, "--gpus", "1", config=[str(path)])
        return [phase["memory"]["llm_weights"] for phase in found["phases"]]

    (frozen,) = llm_weights(["adapter"])
    first, second = llm_weights(["adapter"], ["adapter", "llm"])
    assert first == second
    assert 1.9 * frozen < first < 2 * frozen  # LoRA is float32 always


def test_what_is_advised_fits_and_leaves_the_step_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = ["--max_bins_per_gpu", "20000", "--gpu_memory", "40"]
    tight = plan(tmp_path, *large)
    assert [p["fits"] for p in tight["phases"]] == [False] * 5
    advice = tight["phases"][3]["advice"]
    assert "max_bins_per_gpu: 5000" in advice
    assert "DOES NOT FIT" in capsys.readouterr().out
    smaller = plan(tmp_path, *large, "--max_bins_per_gpu", "5000")
    for before, after in zip(tight["phases"], smaller["phases"], strict=True):
        assert after["fits"]
        assert after["examples"] == pytest.approx(before["examples"])
        assert after["hours"] == pytest.approx(before["hours"])


def test_checkpointing_is_advised_where_it_is_enough(tmp_path: Path) -> None:
    options = ["--max_bins_per_gpu", "20000", "--gpu_memory", "80"]
    plain = plan(tmp_path, *options, config=[STAGES[2]])["phases"][0]
    assert "encoder_conf: {gradient_checkpointing: true}" in plain["advice"]
    model = tmp_path / "model.yaml"
    model.write_text(
        yaml.safe_dump({"base": PART_2B, "encoder_conf": {"gradient_checkpointing": True}})
    )
    options += ["--model_config", str(model)]
    mended = plan(tmp_path, *options, config=[STAGES[2]])["phases"][0]
    assert mended["fits"]
    assert mended["flops"]["again"] > 1.1 * plain["flops"]["again"]


def test_the_shared_configurations_fit_where_they_say(tmp_path: Path) -> None:
    models = REPOSITORY / "conf/model"
    eight = ["--gpus", "8", "--gpu_memory", "80"]
    one = ["--gpus", "1"]
    for model, options in (
        ("whisper_large_v3_qwen2.5_1.5b", eight),
        ("whisper_large_v3_qwen2.5_7b", eight),
        ("whisper_large_v3_qwen2.5_1.5b", [*one, "--gpu_memory", "80"]),
        ("whisper_large_v3_qwen2.5_7b", [*one, "--gpu_memory", "80"]),
        ("whisper_small_qwen2.5_0.5b", [*one, "--gpu_memory", "24"]),
    ):
        result = plan(tmp_path, *options, "--model_config", str(models / f"{model}.yaml"))
        assert all(phase["fits"] for phase in result["phases"]), model
        assert len({round(phase["examples"]) for phase in result["phases"][:4]}) == 1


def test_the_page_of_the_mixture_says_what_is_computed(tmp_path: Path) -> None:
    recipe = REPOSITORY / "egs2/multilingual/part"
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (recipe / "README.md").read_text().splitlines()
        if line.startswith(("| `2", "| `8"))
    ]
    config = [str(recipe / f"conf/part/stage{n}.yaml") for n in (1, 2, 3)]
    one = ["--peak_tflops", "165"]
    models = {
        "`2b`": ("whisper_large_v3_qwen2.5_1.5b", ["--gpus", "8", "--gpu_memory", "80"]),
        "`8b`": ("whisper_large_v3_qwen2.5_7b", ["--gpus", "8", "--gpu_memory", "80"]),
        "`24gb`": ("whisper_small_qwen2.5_0.5b", ["--gpus", "1", "--gpu_memory", "24", *one]),
    }
    assert [row[0] for row in rows] == list(models)
    for row in rows:
        name, options = models[row[0]]
        file = str(REPOSITORY / f"conf/model/{name}.yaml")
        hours = ["--hours_of_audio", "15000", "--model_config", file]
        result = plan(tmp_path, *hours, *options, config=config)
        phases, total = result["phases"], result["total"]
        trained = [sum(phases[n]["parameters"].values()) / 1e6 for n in (0, 2, 3)]
        assert row[4] == " / ".join(f"{number:.0f} M" for number in trained)
        assert row[5] == f"{max(p['memory']['peak'] for p in phases) / 2**30:.0f} GB"
        assert row[6] == f"{total['steps']:,}"
        assert row[7] == f"{round(total['hours'], -3):,.0f} h"
        assert row[8] == f"{total['seconds'] / 3600:.0f} h"


def test_nothing_helps_where_the_weights_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = plan(tmp_path, "--gpu_memory", "8", config=[STAGES[2]])["phases"][0]
    assert not phase["fits"]
    assert phase["advice"] == []
    said = capsys.readouterr().out
    assert "no batch is small enough" in said and "a smaller model" in said
    assert phase["memory"]["peak"] > phase["least"] > 8 * 2**30
    assert f"it takes {phase['least'] / 2**30:.1f} GB" in said


def test_sharing_the_model_is_advised_where_nothing_else_makes_it_fit(tmp_path: Path) -> None:
    model = ["--model_config", str(REPOSITORY / "conf/model/whisper_large_v3_qwen2.5_7b.yaml")]
    options = [*model, "--gpu_memory", "24"]
    one = plan(tmp_path, *options, "--gpus", "1", config=[STAGES[2]])["phases"][0]
    eight = plan(tmp_path, *options, "--gpus", "8", config=[STAGES[2]])["phases"][0]
    assert not one["advice"] and all("parallel: fsdp2" in advice for advice in eight["advice"])
    sharing = plan(tmp_path, *options, "--parallel", "fsdp2", config=[STAGES[2]])["phases"][0]
    assert sharing["sharded"] and sharing["memory"]["peak"] < eight["memory"]["peak"] / 1.5
    assert sharing["advice"][0] == eight["advice"][0].removeprefix("parallel: fsdp2 and ")


def test_advice_leaves_room_for_the_longest_utterance(tmp_path: Path) -> None:
    """30 s cost 0.4 x 1500 frames, 750 positions of speech, 40 of a prompt and 121 of an answer."""
    model = ["--model_config", str(REPOSITORY / "conf/model/whisper_large_v3_qwen2.5_7b.yaml")]
    advised = []
    for memory in (22, 24, 31, 48):
        for gpus in (1, 4):
            options = [*model, "--gpus", str(gpus)]
            for phase in plan(tmp_path, *options, "--gpu_memory", str(memory))["phases"]:
                for bins in re.findall(r"max_bins_per_gpu: (\d+)", " ".join(phase["advice"])):
                    advised.append(int(bins))
    assert 1511 <= min(advised) < 1540  # room for one utterance, and for no second


def test_epochs_are_turned_into_steps(tmp_path: Path) -> None:
    config = stage(tmp_path, {"epochs": 3})
    phase = plan(tmp_path, config=[config])["phases"][0]
    assert phase["epochs"] == pytest.approx(3, rel=1e-3)
    assert phase["hours"] == pytest.approx(3000, rel=1e-3)


def test_batches_counted_in_examples(tmp_path: Path) -> None:
    config = stage(tmp_path, {"steps": 10}, batch_type="unsorted", batch_size=64, accum_grad=2)
    phase = plan(tmp_path, "--gpus", "8", config=[config])["phases"][0]
    assert phase["examples"] == 128
    assert phase["dearest"].startswith("8 x 30 s")


def test_real_lengths_and_shares(tmp_path: Path) -> None:
    stats = [
        {"task": task, "lang": lang, "tgt": "", "utterances": count, "hours": hours}
        | {"prompt_tokens": 20 * count, "answer_tokens": 10 * count}
        for task, lang, count, hours in (
            ("asr", "de", 900, 2.0),
            ("asr", "", 900, 2.0),
            ("s2tt", "de", 450, 1.0),
            ("s2tt", "", 450, 1.0),
            ("t2tt", "de", 450, 0.0),
            ("t2tt", "", 450, 0.0),
            ("", "", 1800, 3.0),
        )
    ]
    (tmp_path / "mixture.json").write_text(json.dumps(stats))
    options = ["--data_stats", str(tmp_path)]
    natural = stage(tmp_path, {"steps": 100, "tasks": ["asr", "t2tt"]})
    phase = plan(tmp_path, *options, config=[natural])["phases"][0]
    # 900 clips of 8 s to 450 texts
    assert phase["hours"] == pytest.approx(100 * phase["examples"] * 2 / 3 * 8 / 3600)
    assert phase["speech_tokens"] == pytest.approx(phase["examples"] * 2 / 3 * 200)
    assert phase["text_tokens"] == pytest.approx(phase["examples"] * 30)
    assert phase["epochs"] == pytest.approx(phase["hours"] / 3)
    scaled = plan(tmp_path, *options, "--hours_of_audio", "300", config=[natural])["phases"][0]
    assert scaled["epochs"] == pytest.approx(phase["epochs"] / 100)
    weighted = stage(tmp_path, {"steps": 100, "tasks": {"asr": 0.5, "t2tt": 0.5}})
    half = plan(tmp_path, *options, config=[weighted])["phases"][0]
    assert half["hours"] == pytest.approx(100 * half["examples"] / 2 * 8 / 3600)


def strata(tmp_path: Path, **sizes: int) -> None:
    """Statistics of ASR data; utterances take 4 s."""
    lines = [
        {"task": "asr", "lang": lang, "tgt": lang, "utterances": size, "hours": size / 900}
        | {"prompt_tokens": 20 * size, "answer_tokens": 20 * size}
        for lang, size in sizes.items()
    ]
    (tmp_path / "mixture.json").write_text(json.dumps(lines))


def test_what_each_stratum_is_to_be_heard_is_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strata(tmp_path, de=9000, fr=900, ta=90)
    phase = {"steps": 100, "language_temperature": 1e9, "max_epochs": {"ta": 30}}
    config = stage(tmp_path, phase, batch_type="unsorted", batch_size=300)
    found = plan(tmp_path, "--data_stats", str(tmp_path), config=[config])["phases"][0]
    mixture = found["mixture"]["strata"]
    drawn = {lang: mixture[f"asr/{lang}/{lang}"] for lang in ("de", "fr", "ta")}
    # 30,000 examples: 2,700 of ta, and the others share the rest
    assert drawn["ta"]["epochs"] == pytest.approx(30)
    assert drawn["ta"]["bound"] == "max_epochs"
    assert drawn["de"]["epochs"] == pytest.approx(13_650 / 9000)
    assert drawn["fr"]["hours"] == pytest.approx(13_650 / 900)
    assert found["hours"] == pytest.approx(sum(values["hours"] for values in drawn.values()))
    said = capsys.readouterr().out
    assert re.search(r"\| asr +\| ta +\| ta +\| +90 \| +0\.10 \| +9 % \| +3\.00 \| max 30 \|", said)
    assert "warning: 1 stratum is heard more than 20 times, most of all asr/ta/ta: 30 times" in said


def test_limits_that_cannot_be_kept_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strata(tmp_path, de=900, ta=90)
    for phase, said in (
        (
            {"steps": 100, "max_epochs": 2},
            "max_epochs: allows 1,980 examples of asr, but the phase",
        ),
        ({"steps": 1, "min_share": 0.6}, "min_share: the least shares of the 2 strata of asr"),
        (
            {"steps": 1, "max_epochs": {"tam": 2}},
            "max_epochs: unknown key `tam`; did you mean `ta`",
        ),
    ):
        config = stage(tmp_path, phase)
        with pytest.raises(SystemExit):
            plan(tmp_path, "--data_stats", str(tmp_path), config=[config])
        assert f"{config}: phase one: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, said",
    [
        (["--data_stats", "missing"], "missing: no such file"),
        (["--model_config", "{unknown}"], "somebody/new-llm"),
        (["--batch_bins", "0"], None),
        (["--mfu", "35"], None),
    ],
)
def test_what_cannot_be_planned(
    tmp_path: Path, options: list[str], said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text(yaml.safe_dump({"base": PART_2B, "llm_conf": {"name": "somebody/new-llm"}}))
    with pytest.raises(SystemExit) as stopped:
        plan(tmp_path, *(o.format(unknown=unknown) for o in options))
    error = capsys.readouterr().err
    assert stopped.value.code == (1 if said else 2)
    assert (said or "usage") in error
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("option", ["gpu_memory", "reserve", "mfu", "padding"])
def test_a_number_that_is_none(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--config", "x", "--model_config", "y", f"--{option}", "abc"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("must be a number: abc")


def test_data_without_a_task_of_the_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"task": "asr", "lang": "de", "tgt": "de", "utterances": 10, "hours": 1.0}
    tokens = {"prompt_tokens": 100, "answer_tokens": 100}
    (tmp_path / "mixture.json").write_text(json.dumps([{**line, **tokens}]))
    with pytest.raises(SystemExit):
        plan(tmp_path, "--data_stats", str(tmp_path))
    assert "joint" in (error := capsys.readouterr().err)
    assert "s2tt" in error


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1, "1"])
@pytest.mark.parametrize("name", ["utterances", "hours", "prompt_tokens", "answer_tokens"])
def test_counts_that_are_none_are_no_mixture(
    tmp_path: Path, name: str, wrong: object, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"task": "asr", "lang": "de", "tgt": "de", "utterances": 10, "hours": 1.0}
    tokens = {"prompt_tokens": 100, "answer_tokens": 100}
    (tmp_path / "mixture.json").write_text(json.dumps([{**line, **tokens, name: wrong}]))
    with pytest.raises(SystemExit):
        plan(tmp_path, "--data_stats", str(tmp_path))
    assert "is no mixture.json of part_collect_stats" in capsys.readouterr().err


def test_needs_no_torch() -> None:
    code = (
        "import sys; from espnet_part.bin.part_plan import main;"
        f"main(['--config', {STAGES[0]!r}, '--model-config', {PART_2B!r}, '--hours-of-audio', '9']);"
        "assert not {'torch', 'transformers', 'espnet2', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
