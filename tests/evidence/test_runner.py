"""The runner without trainings: part.sh and decoding are stood in for, and their files are as theirs."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from espnet_part.config import dump_yaml, load_yaml
from espnet_part.errors import DataError, UserError
from espnet_part.evidence.costs import cost_table, shares
from espnet_part.evidence.document import _question, write_evidence
from espnet_part.evidence.evaluation import Point, final_point, points
from espnet_part.evidence.findings import find_out
from espnet_part.evidence.plan import Plan, Run, load_plan
from espnet_part.evidence.record import Evidence
from espnet_part.evidence.runner import OutOfTime, Runner
from espnet_part.evidence.schedules import count_steps
from espnet_part.evidence.workspace import BEST, Workspace
from espnet_part.kaldi import read_table, write_table
from espnet_part.recipe.markers import Marker
from espnet_part.weights import read_header, write_weights

MINI = Path(__file__).parents[2] / "egs2/mini_multilingual/part"
SENTENCE = "the small cat sees a red house in the evening and my brother buys an old car"
WORDS = SENTENCE.split()
#: Words of a hypothesis that are wrong, by system; the best factor is 2 for two_stage and 1 for others.
WRONG = {"part": 0.1, "two_stage": 0.4}


class Staged(Runner):
    """Writes what part.sh and part_inference would, and notes what was asked of them.

    Attributes:
        trained: (tag, stage) in their order.
        failing: tags of runs whose training fails.
    """

    def __init__(self, *args: object, failing: Iterable[str] = ()) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.trained: list[tuple[str, int]] = []
        self.failing = set(failing)
        self.decoded: list[Path] = []

    def _part(
        self, space: Workspace, log: Path, config: str, tag: str, seed: int, *words: str
    ) -> None:
        stop = int(words[words.index("--stop_stage") + 1])
        exp = space.root / "exp" / tag
        if stop == 6:
            write_data(space)
        elif tag in self.failing:
            raise UserError("ended with status 1")
        elif stop < 10:
            self._stand_in_for_training(exp, tag, stop - 6)
        else:
            write_hypotheses(space.root / "data/test", exp / "decode_greedy/test/text", tag)

    def _stand_in_for_training(self, exp: Path, tag: str, n: int) -> None:
        marker, stage = Marker(exp / f".done/stage{n + 6}"), exp / f"stage{n}"
        if marker.read() is not None:
            return
        self.trained.append((tag, n))
        stage.mkdir(parents=True, exist_ok=True)
        entries = [{"epoch": 1, "phase": "a", "step": 4}, {"epoch": 2, "phase": "b", "step": 9}]
        lines = [json.dumps(entry) + "\n" for entry in entries]
        (stage / "history.jsonl").write_text("".join(lines))
        for name in ("1epoch.safetensors", "2epoch.safetensors", BEST):
            write_weights(stage / name, {"w": torch.ones(1)}, {"of": f"{tag} {n}"})
        marker.finish("key", "product")
        with (exp / "stage_times.jsonl").open("a") as file:
            file.write(json.dumps({"stage": n + 6, "name": "training", "seconds": 3600}) + "\n")

    def _decode(self, space: Workspace, point: Point) -> None:
        self.decoded.append(point.out)
        tag = point.out.parents[1].name
        write_hypotheses(space.root / "dump/raw/dev", point.out / "text", tag)


def write_data(space: Workspace) -> None:
    generator = random.Random(3)
    for directory in ("dump/raw/train", "dump/raw/dev", "data/test"):
        rows = {}
        for n in range(30):
            for task, source, target in (("asr", "de", "de"), ("s2tt", "de", "en")):
                rows[f"{n:02}-{task}"] = (
                    task,
                    source,
                    target,
                    " ".join(generator.choices(WORDS, k=7)),
                )
        path = space.root / directory
        path.mkdir(parents=True, exist_ok=True)
        for column, name in enumerate(("utt2task", "utt2lang", "utt2tgt", "text")):
            write_table(path / name, ((utt, row[column]) for utt, row in rows.items()))
    Marker(space.root / "dump/.done/stage3_train").finish("key", "data")
    Marker(space.root / "exp/.done/stage4_model").finish("key", "models")


def write_hypotheses(reference: Path, path: Path, tag: str) -> None:
    system, _, rest = tag.partition("_x")
    wrong = WRONG.get(system, 0.2) + (0 if ("2" in rest[:2]) == (system == "two_stage") else 0.3)
    generator = random.Random(tag)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (utt, " ".join("x" if generator.random() < wrong else w for w in text.split()))
        for utt, text in read_table(reference / "text").items()
    ]
    write_table(path, rows)


@pytest.fixture
def plan() -> Plan:
    plan = load_plan(MINI / "conf/evidence.yaml")
    systems = plan.questions["systems"]
    few = replace(
        systems, pairs=[("part", "two_stage"), ("part", "no_staging"), ("no_staging", "no_lora")]
    )
    scarce = replace(plan.questions["scarce"], pairs=[("part", "two_stage")], seeds=1)
    return replace(
        plan, seeds=[0, 1], rates=[1.0, 2.0], questions={"systems": few, "scarce": scarce}
    )


def test_the_whole(plan: Plan, tmp_path: Path) -> None:
    evidence = Staged(plan, MINI, tmp_path)
    with pytest.raises(DataError, match="no two runs"):
        write_evidence(evidence, tmp_path)
    evidence.work(jobs=2)
    assert evidence.failures == {}
    assert evidence.chosen("part") == 1 and evidence.chosen("two_stage") == 2
    # as often as there are different trainings, though two run side by side
    identities = {
        evidence.identity(run, n) for run in runs(evidence) for n in evidence.contents(run)
    }
    assert len(evidence.trained) == len(set(evidence.trained)) == len(identities)
    weights = tmp_path / "three/exp/two_stage_x1_seed0/stage1" / BEST
    assert read_header(weights)[0]["of"] in ("part_x1_seed0 1", "two_stage_x1_seed0 1")

    paths = write_evidence(evidence, tmp_path)
    assert {path.name for path in paths} == {
        "EVIDENCE.md",
        "evidence_systems.png",
        "evidence_systems_curves.png",
        "evidence_scarce.png",
    }
    text = paths[0].read_text()
    (gain,) = re.findall(r"\|part over two_stage: error rate\|\**\+([\d.]+) \[", text)
    assert 20 < float(gain) < 40
    assert "**not measured**" in text  # claims on systems of other questions
    assert "What is lacking" not in text
    assert "3: b" in text  # the end of the last phase

    again = Staged(plan, MINI, tmp_path)
    again.work()
    assert again.trained == []
    _, parts = shares(again)
    assert [(part.runs, part.steps, part.seconds) for part in parts] == [
        (1, 0, 0),
        (8, 0, 0),
        (8, 0, 0),
        (6, 0, 0),
    ]
    assert all(part.runs == part.done for part in parts)


def runs(evidence: Evidence) -> Iterable[Run]:
    chosen = {system: evidence.chosen(system) or 1.0 for system in evidence.systems}
    works = evidence.grid_work()
    for question in evidence.questions.values():
        works += evidence.question_work(question, chosen)
    return [work.run for work in works]


def test_a_failure_is_named_and_mended(plan: Plan, tmp_path: Path) -> None:
    evidence = Staged(plan, MINI, tmp_path, failing=["no_staging_x2_seed0", "part_x1_seed1"])
    evidence.work()
    assert set(evidence.failures) == {"three/no_staging_x2_seed0", "three/part_x1_seed1"}
    assert evidence.chosen("no_staging") == 1  # of those that are there
    text = write_evidence(Staged(plan, MINI, tmp_path), tmp_path)[0].read_text()
    assert "- failed: three/part_x1_seed1: ended with status 1" in text
    assert "- systems: 7 of 8 runs are there" in text
    assert "one seed: nothing is known of others" in text

    mended = Staged(plan, MINI, tmp_path)
    mended.work()
    assert mended.failures == {}
    assert ("part_x1_seed1", 3) in mended.trained
    assert "What is lacking" not in write_evidence(mended, tmp_path)[0].read_text()


def test_a_corpus_that_fails_keeps_its_runs_from_starting(plan: Plan, tmp_path: Path) -> None:
    class NoData(Staged):
        def _part(self, space: Workspace, *rest: object) -> None:  # type: ignore[override]
            raise UserError("no disk")

    evidence = NoData(plan, MINI, tmp_path)
    evidence.work()
    assert evidence.failures == {"corpus three": "no disk"}


def test_other_data_are_trained_on_anew(plan: Plan, tmp_path: Path) -> None:
    evidence = Staged(plan, MINI, tmp_path)
    evidence.work()
    run = Run("part", plan.setting, 1.0, 0)
    assert evidence.is_trained(run) and evidence.is_tested(run)
    Marker(tmp_path / "three/dump/.done/stage3_train").finish("key", "other data")
    assert not evidence.is_trained(run) and not evidence.is_tested(run)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A recipe's conf that may be changed."""
    shutil.copytree(MINI / "conf", tmp_path / "recipe/conf")
    (tmp_path / "recipe/part.sh").write_text("")
    base = load_yaml(MINI / "conf/training.yaml")
    (tmp_path / "recipe/conf/training.yaml").write_text(dump_yaml(base))
    (tmp_path / "recipe/conf/decode_greedy.yaml").write_text("beam_size: 1\n")
    return tmp_path / "recipe"


def small(plan: Plan, **options: str) -> Plan:
    """One question, and a search of its own."""
    questions = {"systems": replace(plan.questions["systems"], pairs=[("part", "two_stage")])}
    decoding = {"decode_config": "conf/decode_greedy.yaml", **options}
    return replace(plan, questions=questions, options={**plan.options, **decoding})


@pytest.mark.parametrize(
    "changed", ["decode_greedy.yaml", "model.yaml", "prompts_mini.yaml", "corpus"]
)
def test_other_files_and_options_are_asked_for_anew(
    plan: Plan, tmp_path: Path, own: Path, changed: str
) -> None:
    plan = small(plan)
    run = Run("part", plan.setting, 1.0, 0)
    Staged(plan, own, tmp_path / "out").work()
    evidence = Staged(plan, own, tmp_path / "out")
    evidence.work()
    assert evidence.trained == [] and evidence.decoded == []
    assert evidence.is_trained(run) and evidence.is_tested(run) and evidence.merits("part")
    if changed == "corpus":
        three = {**plan.corpora["three"], "inference_args": "--beam_size 7"}
        plan = replace(plan, corpora={**plan.corpora, "three": three})
    else:
        path = own / "conf" / changed
        path.write_text(path.read_text() + "\nbeam_size_of_another: 9\n")
    evidence = Staged(plan, own, tmp_path / "out")
    of_training = changed in ("model.yaml", "prompts_mini.yaml")
    assert evidence.is_trained(run) != of_training and not evidence.is_tested(run)
    assert evidence.merits("part") == {} and evidence.chosen("part") is None
    _, parts = shares(evidence)
    assert parts[1].done == 0 and (parts[1].steps > 0) == of_training
    evidence.work()
    assert len(evidence.decoded) == 4 + 2 * (6 + 4)  # the grid, and the curves of two seeds
    assert evidence.is_tested(run) and evidence.merits("part")


def test_dev_is_decoded_anew_with_other_weights(plan: Plan, tmp_path: Path) -> None:
    plan = small(plan)
    evidence = Staged(plan, MINI, tmp_path)
    evidence.work()
    run = Run("part", plan.setting, 1.0, 0)
    before = evidence.merits("part")
    space = evidence.space(run)
    point = final_point(space, run, evidence.ends(run)[-1])
    assert evidence.is_decoded(run, point)
    write_weights(point.weights, {"w": torch.zeros(1)}, {})
    assert not evidence.is_decoded(run, point) and set(evidence.merits("part")) == {2.0}
    evidence.decoded.clear()
    evidence.work()
    assert evidence.decoded == [point.out] and evidence.merits("part") == before
    # within one process what is read is what is there
    write_hypotheses(tmp_path / "three/dump/raw/dev", point.out / "text", "part_x2_seed9")
    assert evidence.merits("part")[1.0] != before[1.0]


def test_a_changed_stage_file_is_not_chosen_by_old_figures(
    plan: Plan, tmp_path: Path, own: Path
) -> None:
    plan = small(plan)
    Staged(plan, own, tmp_path / "out").work()
    path = own / "conf/two_stage/stage2.yaml"
    path.write_text(path.read_text() + "\nseed: 7\n")
    evidence = Staged(plan, own, tmp_path / "out")
    assert evidence.merits("two_stage") == {} and len(evidence.merits("part")) == 2
    run = Run("two_stage", plan.setting, 1.0, 0)
    assert [evidence.is_trained(run, n) for n in (1, 2)] == [True, False]
    _, parts = shares(evidence)
    assert parts[1].steps == 2 * count_steps(evidence.contents(run)[2])


def test_work_of_several_questions_is_counted_once(plan: Plan, tmp_path: Path) -> None:
    one = small(plan)
    two = replace(one, questions={**one.questions, "again": one.questions["systems"]})
    _, parts = shares(Staged(two, MINI, tmp_path))
    assert parts[2].seconds > 0 and (parts[3].seconds, parts[3].steps) == (0, 0)


def test_a_damaged_history_is_named(plan: Plan, tmp_path: Path) -> None:
    plan = small(plan)
    evidence = Staged(plan, MINI, tmp_path)
    evidence.work()
    run = Run("part", plan.setting, 1.0, 0)
    (evidence.space(run).stage(run, 2) / "history.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(DataError, match="a line lacks a field"):
        points(evidence.space(run), run)
    text = write_evidence(Staged(plan, MINI, tmp_path), tmp_path)[0].read_text()
    assert "of those that are there" in text and "given the same factors" not in text


def test_the_document_says_what_ran(plan: Plan, tmp_path: Path) -> None:
    plan = small(plan)
    evidence = Staged(plan, MINI, tmp_path)
    evidence.work()
    text = write_evidence(evidence, tmp_path)[0].read_text()
    assert "every system was given the same factors" in text and "two-level" not in text
    (finding,) = find_out(evidence)
    keys = {"wer": [("asr", "de_*x*", "de_*x*")]}
    shown = _question(evidence, replace(finding, compared=keys), set())
    assert "de\\_\\*x\\*" in shown.splitlines()[2]
    nothing = {key: {} for key in finding.standings}
    odd = replace(finding, compared={}, standings=nothing, gains=[])
    assert "Nothing is compared" in _question(evidence, odd, set())


def test_time_ends_it_between_two_pieces_of_work(plan: Plan, tmp_path: Path) -> None:
    evidence = Staged(plan, MINI, tmp_path)
    with pytest.raises(OutOfTime):
        evidence.work(max_hours=1e-12)
    assert evidence.trained == []


def test_costs_are_those_of_what_has_run(plan: Plan, tmp_path: Path) -> None:
    cost, parts = shares(Staged(plan, MINI, tmp_path))
    assert cost == plan.cost
    # part: 850; two_stage 750 more; no_staging 850; no_lora 400 more; twice for two factors
    assert parts[1].steps == 2 * (850 + 750 + 850 + 400)
    assert parts[2].steps == 850 + 750 + 850 + 400  # the second seed
    assert parts[3].steps == 2 * (850 + 750)  # 30 and 10 %: another training set
    evidence = Staged(plan, MINI, tmp_path, failing=["part_x1_seed1"])
    evidence.work()
    cost, parts = shares(evidence)
    assert 3600 / 750 <= cost.step <= 3600 / 100
    assert (parts[2].runs, parts[2].done, parts[2].steps) == (8, 7, 850)
    assert f"at {cost.step:.2f} s a step" in cost_table(cost, parts, 2)
