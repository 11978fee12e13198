"""What a plan declares, and the stage files and runs that come of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError
from espnet_part.evidence import evaluation
from espnet_part.evidence.plan import Plan, Run, Setting, grid_runs, load_plan, question_runs
from espnet_part.evidence.record import Evidence
from espnet_part.evidence.schedules import count_steps, stage_files
from espnet_part.evidence.workspace import Workspace

ROOT = Path(__file__).parents[2]
MINI = ROOT / "egs2/mini_multilingual/part"
PAIR = ["part", "two_stage"]
RECIPES = sorted(path.parents[1] for path in ROOT.glob("egs2/*/part/conf/evidence.yaml"))


def write(path: Path, **changes: object) -> Path:
    plan = load_yaml(MINI / "conf/evidence.yaml") | changes
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return path


@pytest.fixture
def plan() -> Plan:
    return load_plan(MINI / "conf/evidence.yaml")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
def test_plans_of_recipes_are_fair(recipe: Path) -> None:
    """The same steps for every system in every setting, with every factor; all stage files resolve."""
    plan = load_plan(recipe / "conf/evidence.yaml")
    evidence = Evidence(plan, recipe, recipe / "evidence")
    assert plan.claims
    for question in plan.questions.values():
        for setting in plan.settings_of(question):
            totals = set()
            for system in question.systems:
                run = Run(system, setting, 1.0, 0)
                totals.add(sum(map(count_steps, evidence.contents(run).values())))
            assert len(totals) == 1, (question.asks, setting)


def test_rates_steps_and_batches_are_scaled(plan: Plan) -> None:
    usual = stage_files(plan, Run("part", plan.setting, 1.0, 0), MINI / "conf")
    setting = Setting(corpus="three", steps=0.5, batch=2)
    other = stage_files(plan, Run("part", setting, 2.0, 0), MINI / "conf")
    assert usual[2] == load_yaml(MINI / "conf/part/stage2.yaml")
    assert other[2]["phases"][0]["lr"] == {"adapter": 4.0e-3, "encoder": 2.0e-3}
    assert other[2]["phases"][1]["steps"] == 125
    assert (usual[2]["batch_size"], other[2]["batch_size"]) == (16, 32)
    assert other[2]["phases"][0]["train"] == usual[2]["phases"][0]["train"]


def test_a_changed_system_differs_where_it_says(plan: Plan) -> None:
    part = stage_files(plan, Run("part", plan.setting, 1.0, 0), MINI / "conf")
    frozen = stage_files(plan, Run("part_frozen", plan.setting, 1.0, 0), MINI / "conf")
    assert [part[n] == frozen[n] for n in (1, 2, 3)] == [True, True, False]
    assert [phase["train"] for phase in frozen[3]["phases"]] == [["adapter", "encoder"]] * 2
    early = stage_files(plan, Run("text_early", plan.setting, 1.0, 0), MINI / "conf")

    def texts(phases: list[dict]) -> float:
        return sum(p["steps"] * p["tasks"].get("t2tt", 0) for p in phases)

    assert texts(early[3]["phases"]) == pytest.approx(texts(part[3]["phases"]))


def test_a_run_s_name_says_what_is_unusual() -> None:
    setting = Setting(corpus="three", s2tt=0.1, steps=2)
    assert Run("part", setting, 0.5, 3).tag == "part_x0.5_s2tt0.1_steps2_seed3"
    assert Run("part", Setting(corpus="three"), 1.0, 0).tag == "part_x1_seed0"


def test_the_usual_setting_need_not_be_a_question_s_first(tmp_path: Path) -> None:
    question = {"asks": "?", "pairs": [PAIR], "settings": [{"steps": 2}, {}]}
    claim = {"says": "", "paper": "", "better": "two_stage", "worse": "part"}
    path = write(tmp_path / "evidence.yaml", questions={"x": question}, claims=[claim])
    assert load_plan(path).claims[0].better == "two_stage"


def test_options_of_a_corpus_go_before_those_of_all(tmp_path: Path) -> None:
    corpora = load_yaml(MINI / "conf/evidence.yaml")["corpora"]
    corpora["three"] |= {"test_sets": "other", "inference_model": "last.ave_3.safetensors"}
    plan = load_plan(write(tmp_path / "evidence.yaml", corpora=corpora))
    assert plan.options_of("three")["test_sets"] == "other"
    assert plan.options_of("five")["test_sets"] == "test"
    space = Workspace(tmp_path, MINI, plan, "three")
    assert space.test_set == "other"
    run = Run("part", plan.setting, 1.0, 0)
    for name in ("decode_beam", "decode_greedy", "decode_greedy_last.ave_3"):
        text = space.exp(run) / name / "other/text"
        text.parent.mkdir(parents=True)
        text.write_text("a b\n")
    # where part.sh puts it, whatever other directories there are
    assert evaluation.test_text(space, run) == text


def test_the_grid_is_the_same_for_all(plan: Plan) -> None:
    runs = list(grid_runs(plan, ["part", "two_stage"]))
    assert [(run.system, run.rate, run.seed) for run in runs] == [
        (system, rate, 0) for system in ("part", "two_stage") for rate in (0.25, 0.5, 1, 2)
    ]


def test_runs_go_seed_by_seed(plan: Plan) -> None:
    question = plan.questions["scarce"]
    chosen = {"part": 1.0, "two_stage": 0.5}  # the others' grid is not through
    runs = list(question_runs(plan, question, chosen))
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6 + [2] * 6
    assert {run.rate for run in runs if run.system == "two_stage"} == {0.5}


@pytest.mark.parametrize("changes, said", [
    ({"seeds": [1, 1]}, "twice"),
    ({"rates": [0]}, "above 0"),
    ({"setting": {"corpus": "seven"}}, "seven"),
    ({"setting": {"corpus": "three", "s2tt": 2}}, "s2tt"),
    ({"options": {"seed": 3}}, "seed"),
    ({"questions": {"x": {"asks": "?", "pairs": [["part", "prt"]]}}}, "did you mean `part`"),
    ({"questions": {"x": {"asks": "?", "pairs": [PAIR], "settings": [{"step": 2}]}}}, "step"),
    ({"questions": {"x": {"asks": "?", "pairs": [PAIR]}}}, "no question compares"),
    ({"options": {"cache_features": True}}, "cache_features"),
    ({"systems": {"../x": {}}}, "small letters"),
    ({"rates": [float("nan"), 1]}, "finite"),
    ({"rates": [float("inf"), 1]}, "finite"),
    ({"rates": [1.0000001, 1.0000002]}, "share the directory"),
    ({"cost": {"step": -5}}, "cost"),
    ({"setting": {"corpus": "three", "steps": float("inf")}}, "steps"),
    ({"questions": {"x": {"asks": "?", "pairs": [PAIR], "settings": [{"batch": float("inf")}]}}}, "batch"),
    ({"questions": {"x": {"asks": "?", "pairs": [PAIR], "settings": []}}}, "settings"),
    ({"questions": {"x": {"asks": "?", "pairs": [["part", "part"]]}}}, "with itself"),
    ({"questions": {"x": {"asks": "?", "pairs": [PAIR], "seeds": 9}}}, "no more"),
    ({"questions": {"x": {"asks": "?", "pairs": [PAIR], "settings": [
        {"s2tt": 0.1}, {"s2tt": 0.10000001, "steps": 2}]}}, "claims": []}, "share the directory"),
    ({"options": {"test_sets": "test test2"}}, "one set"),
    ({"options": {"valid_set": "dev", "test_sets": "dev"}}, "chosen on"),
    ({"corpora": {"three": {"valid_set": "test"}}, "questions": {
        "x": {"asks": "?", "pairs": [PAIR]}}, "claims": []}, "chosen on"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_plan(write(tmp_path / "evidence.yaml", **changes))


@pytest.mark.parametrize("system, said", [
    ({"of": "prt"}, "has no stage1.yaml"),
    ({"of": "two_stage", "stage3": {"joint": {"steps": 3}}}, "has no stage3.yaml"),
    ({"of": "part", "stage3": {"jont": None}}, "did you mean `joint`"),
    ({"of": "part", "stage3": {"joint": {"steps_of": "part/stage2.yaml"}}}, "take from others"),
])  # fmt: skip
def test_a_system_that_cannot_be_made_is_refused(tmp_path: Path, system: dict, said: str) -> None:
    systems = load_yaml(MINI / "conf/evidence.yaml")["systems"] | {"text_more": system}
    plan = load_plan(write(tmp_path / "evidence.yaml", systems=systems))
    with pytest.raises(ConfigError, match=said):
        stage_files(plan, Run("text_more", plan.setting, 1.0, 0), MINI / "conf")
