"""The schedules of the recipes for public corpora: baselines get what PART gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.config import load_yaml
from espnet_part.preflight import read_schedule

EGS2 = Path(__file__).parents[2] / "egs2"


def phases(directory: Path) -> list:
    return [
        phase
        for stage in sorted(directory.glob("stage*.yaml"))
        for phase in read_schedule(str(stage)).phases
    ]


@pytest.mark.parametrize("corpus", ["fleurs", "covost2", "multilingual"])
@pytest.mark.parametrize("baseline", ["baseline_2stage", "baseline_2stage_lora"])
def test_baselines_train_as_long_as_part(corpus: str, baseline: str) -> None:
    conf = EGS2 / corpus / "part/conf"
    ours, theirs = phases(conf / "part"), phases(conf / baseline)
    assert sum(phase.steps for phase in theirs) == sum(phase.steps for phase in ours)
    assert theirs[0] == ours[0]
    assert any("llm.lora" in phase.train for phase in theirs) == baseline.endswith("lora")


@pytest.mark.parametrize("corpus", ["commonvoice", "wenetspeech"])
def test_corpora_without_translations_are_for_recognition(corpus: str) -> None:
    assert {task for p in phases(EGS2 / corpus / "part/conf/part") for task in p.tasks} == {"asr"}


@pytest.mark.parametrize("system", ["part", "baseline_2stage", "baseline_2stage_lora"])
def test_a_step_of_the_embedded_recipe_is_16_utterances(system: str) -> None:
    """What the shared settings say of GPUs must not change what its figures were made with."""
    for stage in (EGS2 / "mini_multilingual/part/conf" / system).glob("stage*.yaml"):
        options = load_yaml(stage)
        assert options["batch_type"] == "unsorted"
        assert options["batch_size"] * options["accum_grad"] == 16
