"""The schedules of the recipes: a system differs from the recipe's own by the ablated thing alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from espnet_part.config import load_yaml
from espnet_part.schedule.schedule import Phase
from espnet_part.stage_file import read_schedule

ROOT = Path(__file__).parents[2]
SYSTEMS = ("two_stage", "two_stage_lora", "no_staging", "no_lora", "no_progressive")
#: Recipe -> its systems beside `part`: what has a meaning for its tasks.
RECIPES = {
    "asterisk": SYSTEMS,
    "commonvoice": ("no_progressive",),
    "covost2": SYSTEMS,
    "fleurs": SYSTEMS,
    "mini_multilingual": SYSTEMS,
    "multilingual": SYSTEMS,
    "wenetspeech": ("two_stage", "two_stage_lora", "no_lora", "no_progressive"),
}
#: For two cores; nothing of the shared, long schedule.
OWN_SCALE = ("asterisk", "mini_multilingual")
CASES = [(recipe, system) for recipe, systems in RECIPES.items() for system in systems]


def conf_of(recipe: str) -> Path:
    return ROOT / "egs2" / recipe / "part/conf"


def stages(directory: Path) -> list[Path]:
    found = sorted(directory.glob("stage*.yaml"))
    assert found, directory
    return found


def phases(directory: Path) -> list[Phase]:
    return [p for stage in stages(directory) for p in read_schedule(str(stage)).phases]


def length(found: list[Phase]) -> int:
    assert all(phase.steps is not None for phase in found)
    return sum(phase.steps or 0 for phase in found)


def frozen_llm(phase: Phase) -> dict[str, Any]:
    """A phase's keys but for what trains the LLM."""
    train = [selector for selector in phase.train if not selector.startswith("llm")]
    rates = {group: rate for group, rate in phase.lr.items() if group != "llm"}
    return {**vars(phase), "train": train, "lr": rates}


def test_every_recipe_has_its_systems_and_no_others() -> None:
    found = [str(path.relative_to(ROOT)) for path in ROOT.glob("egs2/*/part/run.sh")]
    if (ROOT / ".git").exists():  # users make recipes of their own beside the project's
        command = ["git", "ls-files", "egs2/*/part/run.sh"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = done.stdout.splitlines()
        assert {Path(name).parts[1] for name in found} == set(RECIPES)
    assert {Path(name).parts[1] for name in found} >= set(RECIPES)
    for recipe, systems in RECIPES.items():
        there = {path.parent.name for path in conf_of(recipe).glob("*/stage1.yaml")}
        assert there - {"part", "part_asr", "part_long"} == set(systems), recipe
        # an ablation of the shared, long schedule is none of the recipe's
        shared = [path.name for path in (conf_of(recipe) / "system").glob("*")]
        assert shared == ([] if recipe in OWN_SCALE else ["part"]), recipe


@pytest.mark.parametrize(("recipe", "system"), CASES)
def test_a_system_has_the_steps_and_the_settings_of_the_recipes_own(
    recipe: str, system: str
) -> None:
    conf = conf_of(recipe)
    assert length(phases(conf / system)) == length(phases(conf / "part"))

    def settings(directory: Path) -> list[dict[str, Any]]:
        found = [load_yaml(stage) for stage in stages(directory)]
        return [{k: v for k, v in stage.items() if k != "phases"} for stage in found]

    own = settings(conf / "part")
    assert all(stage in own for stage in settings(conf / system))


@pytest.mark.parametrize(("recipe", "system"), [c for c in CASES if c[1].startswith("two_stage")])
def test_two_stage_is_the_adapter_and_then_all_at_once(recipe: str, system: str) -> None:
    *first, joint = phases(conf_of(recipe) / system)
    part = phases(conf_of(recipe) / "part")
    rest = part[len(first) :]
    third = list(read_schedule(str(conf_of(recipe) / "part/stage3.yaml")).phases)
    assert first == list(read_schedule(str(conf_of(recipe) / "part/stage1.yaml")).phases)
    assert first == part[: len(first)]
    assert joint.steps == length(rest)
    assert set(joint.train) >= {"adapter", "encoder"}
    assert ("llm.lora" in joint.train) == ("llm" in joint.lr) == system.endswith("lora")
    assert set(joint.tasks) == {task for phase in third for task in phase.tasks}
    for group, rate in joint.lr.items():  # as the group starts in PART, behind the adapter's stage
        assert rate == next(phase.lr[group] for phase in rest if group in phase.lr)
    if isinstance(joint.tasks, dict):
        assert sum(joint.tasks.values()) == pytest.approx(1)
        for task, weight in joint.tasks.items():
            heard = sum(
                (phase.steps or 0) * phase.tasks[task]
                for phase in third
                if isinstance(phase.tasks, dict) and task in phase.tasks
            )
            assert weight == pytest.approx(heard / length(third), abs=1e-5)


@pytest.mark.parametrize("recipe", [r for r, s in RECIPES.items() if "no_staging" in s])
def test_without_staging_all_stages_hear_the_third_ones_mixture(recipe: str) -> None:
    part, changed = phases(conf_of(recipe) / "part"), phases(conf_of(recipe) / "no_staging")
    joint = next(phase for phase in part if "s2tt" in phase.tasks)
    assert len(part) == len(changed)
    for before, after in zip(part, changed, strict=True):
        mixture = {"tasks": after.tasks, "language_temperature": after.language_temperature}
        assert vars(after) == {**vars(before), **mixture}
        early = "s2tt" not in before.tasks
        source = joint if early else before
        assert mixture == {
            "tasks": source.tasks,
            "language_temperature": source.language_temperature,
        }


@pytest.mark.parametrize("recipe", [r for r, s in RECIPES.items() if "no_lora" in s])
def test_without_lora_the_llm_stays_frozen(recipe: str) -> None:
    system = "no_staging" if "no_staging" in RECIPES[recipe] else "part"
    before, after = phases(conf_of(recipe) / system), phases(conf_of(recipe) / "no_lora")
    assert any("llm" in phase.lr for phase in before)
    assert [vars(phase) for phase in after] == [frozen_llm(phase) for phase in before]


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_without_progressive_thawing_the_encoder_trains_at_once(recipe: str) -> None:
    system = "no_lora" if "no_lora" in RECIPES[recipe] else "part"
    before, after = phases(conf_of(recipe) / system), phases(conf_of(recipe) / "no_progressive")
    assert [p.name for p in before if p not in after] == ["encoder_top", "encoder_all"]
    changed = [phase for phase in after if phase not in before]
    whole = next(phase for phase in before if phase.name == "encoder_all")
    top = next(phase for phase in before if phase.name == "encoder_top")
    steps = (top.steps or 0) + (whole.steps or 0)
    assert [vars(phase) for phase in changed] == [{**vars(whole), "steps": steps}]


@pytest.mark.parametrize("corpus", ["commonvoice", "wenetspeech"])
def test_corpora_without_translations_are_for_recognition(corpus: str) -> None:
    for system in ("part", *RECIPES[corpus]):
        found = phases(conf_of(corpus) / system)
        assert {task for phase in found for task in phase.tasks} == {"asr"}, system


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r not in OWN_SCALE])
def test_a_step_is_one_size_on_any_number_of_gpus(recipe: str) -> None:
    for stage in stages(conf_of(recipe) / "part"):
        options = load_yaml(stage)
        assert options["batch_bins"] * options.get("accum_grad", 1) == 160000
        assert options["max_bins_per_gpu"] == 10000


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_all_stages_share_their_training_options(recipe: str) -> None:
    """What a recipe says of all of them stands once, in its conf/training.yaml."""
    for system in ("part", *RECIPES[recipe]):
        found = [load_yaml(stage) for stage in stages(conf_of(recipe) / system)]
        options = [{k: v for k, v in stage.items() if k != "phases"} for stage in found]
        assert all(stage == options[0] for stage in options), system
    own = sorted((conf_of(recipe) / "part").glob("stage*.yaml"))
    assert own and all(set(yaml.safe_load(path.read_text())) <= {"base", "phases"} for path in own)


@pytest.mark.parametrize("system", ["part", *SYSTEMS])
def test_a_step_of_the_embedded_recipe_is_16_utterances(system: str) -> None:
    """What the shared settings say of GPUs must not change what its figures were made with."""
    for stage in stages(conf_of("mini_multilingual") / system):
        options = load_yaml(stage)
        assert options["batch_type"] == "unsorted"
        assert options["batch_size"] * options["accum_grad"] == 16
        assert "max_bins_per_gpu" not in options
