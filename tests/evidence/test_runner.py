"""The runner without trainings: part.sh and decoding are stood in for, and their files are as theirs."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_part.errors import DataError, UserError
from espnet_part.evidence.costs import cost_table, shares
from espnet_part.evidence.document import write_evidence
from espnet_part.evidence.evaluation import Point
from espnet_part.evidence.plan import Plan, Run, load_plan
from espnet_part.evidence.runner import Evidence, OutOfTime
from espnet_part.evidence.workspace import BEST, Workspace
from espnet_part.kaldi import read_table, write_table
from espnet_part.recipe.markers import Marker

MINI = Path(__file__).parents[2] / "egs2/mini_multilingual/part"
SENTENCE = "the small cat sees a red house in the evening and my brother buys an old car"
WORDS = SENTENCE.split()
#: Words of a hypothesis that are wrong, by system; the best factor is 2 for two_stage and 1 for others.
WRONG = {"part": 0.1, "two_stage": 0.4}


class Staged(Evidence):
    """Writes what part.sh and part_inference would, and notes what was asked of them.

    Attributes:
        trained: (tag, stage) in their order.
        failing: tags of runs whose training fails.
    """

    def __init__(self, *args: object, failing: Iterable[str] = ()) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.trained: list[tuple[str, int]] = []
        self.failing = set(failing)

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
            (stage / name).write_text(f"{tag} {n}")
        marker.finish("key", "product")
        with (exp / "stage_times.jsonl").open("a") as file:
            file.write(json.dumps({"stage": n + 6, "name": "training", "seconds": 3600}) + "\n")

    def _decode(self, space: Workspace, point: Point) -> None:
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
    assert weights.read_text() in ("part_x1_seed0 1", "two_stage_x1_seed0 1")

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
