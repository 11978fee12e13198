"""What a plan asks for, and what of it is there: every run's key, and whether its parts are up to date.

A stage that two runs share (the same data, seed and stage files so far) has one identity.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from espnet_part import weights
from espnet_part.errors import ConfigError, DataError, did_you_mean
from espnet_part.evidence.evaluation import (
    Point,
    dev_figures,
    final_point,
    merit,
    points,
    test_text,
)
from espnet_part.evidence.plan import Plan, Question, Run, all_runs, grid_runs, question_runs
from espnet_part.evidence.schedules import STAGES, stage_files
from espnet_part.evidence.workspace import Workspace
from espnet_part.parsing import read_json_object
from espnet_part.recipe.keys import digest
from espnet_part.recipe.markers import Marker

#: Options of part.sh that change what is decoded, and no training.
_SEARCH = ("decode_config", "inference_args", "inference_model", "inference_batch_size")


@dataclass(frozen=True)
class Work:
    """What is wanted of a run.

    Attributes:
        final, curve: whether dev is decoded with the final model, and at each phase's end.
        test: whether the test set is.
    """

    run: Run
    final: bool = False
    curve: bool = False
    test: bool = False


class Evidence:
    """A plan, where its runs are, and what of them is there. It changes nothing; see `runner`.

    Attributes:
        failures: why a run failed, by its name.
    """

    def __init__(self, plan: Plan, recipe: Path, out: Path, only: Sequence[str] = ()) -> None:
        self.plan, self.recipe, self.out = plan, recipe, out
        for name in only:
            if name not in plan.questions:
                raise ConfigError(f"--only: {did_you_mean(name, list(plan.questions))}")
        self.questions = {n: q for n, q in plan.questions.items() if not only or n in only}
        self.spaces = {name: Workspace(out / name, recipe, plan, name) for name in plan.corpora}
        self._contents: dict[Any, dict[int, dict[str, Any]]] = {}
        self._named: dict[str, dict[str, Any]] = {}
        for run in all_runs(plan):
            self.contents(run)  # what does not fit is told before anything runs
        path = out / "failures.json"
        known = read_json_object(path) if path.is_file() else {}
        # not what has left the plan
        names = {*map(self.name, all_runs(plan)), *map(corpus_name, plan.corpora)}
        self.failures: dict[str, str] = {n: str(why) for n, why in known.items() if n in names}

    def space(self, run: Run) -> Workspace:
        return self.spaces[run.setting.corpus]

    def name(self, run: Run) -> str:
        """What it is called where runs of all corpora are."""
        return f"{run.setting.corpus}/{run.tag}" if len(self.spaces) > 1 else run.tag

    # ------------------------------------------------------------------------------- what is wanted

    @property
    def systems(self) -> list[str]:
        """Of the questions that were asked for, and no others."""
        return list(dict.fromkeys(s for q in self.questions.values() for s in q.systems))

    def merits(self, system: str) -> dict[float, float]:
        """What each factor of the learning rates has come to on dev, as far as it was tried."""
        found = {}
        for run in grid_runs(self.plan, [system]):
            if self.has_final(run):
                figures = dev_figures(self.space(run), self._final(run)[0])
                if figures is not None:
                    found[run.rate] = merit(figures)
        return found

    def chosen(self, system: str) -> float | None:
        """The factor with the best dev figures; None where the grid is not through.

        A candidate that failed is left out, and is named among the failures.
        """
        if len(self.plan.rates) == 1:
            return self.plan.rates[0]
        tried = self.merits(system)
        grid = grid_runs(self.plan, [system])
        failed = [run.rate for run in grid if self.name(run) in self.failures]
        if not tried or len(tried) + len(set(failed) - set(tried)) < len(self.plan.rates):
            return None
        return max(tried, key=lambda rate: (tried[rate], -abs(rate - 1)))

    def grid_work(self) -> list[Work]:
        return [Work(run, final=True) for run in grid_runs(self.plan, self.systems)]

    def question_work(self, question: Question, chosen: dict[str, float]) -> list[Work]:
        return [
            Work(run, curve=question.curves and run.setting == self.plan.setting, test=True)
            for run in question_runs(self.plan, question, chosen)
        ]

    # --------------------------------------------------------------------------------- what is done

    def contents(self, run: Run) -> dict[int, dict[str, Any]]:
        """The stage files of a run."""
        key = (run.system, run.setting, run.rate)
        if key not in self._contents:
            self._contents[key] = stage_files(self.plan, run, self.recipe / "conf")
        return self._contents[key]

    def identity(self, run: Run, n: int) -> str:
        """Equal for runs whose stages up to ``n`` are the same training."""
        stages = {m: content for m, content in self.contents(run).items() if m <= n}
        return digest(run.setting.corpus, run.setting.s2tt, run.seed, stages)

    @cached_property
    def _alike(self) -> dict[str, list[tuple[Run, int]]]:
        """All runs that the plan may have, by the identity of each of their stages."""
        found: dict[str, list[tuple[Run, int]]] = defaultdict(list)
        for run in dict.fromkeys(all_runs(self.plan)):
            for n in self.contents(run):
                found[self.identity(run, n)].append((run, n))
        return found

    def twin(self, run: Run, n: int) -> Run | None:
        """Another run that has trained the same stage, where this one has not."""
        space = self.space(run)
        if space.has_ended(run, n):
            return None
        twins = self._alike[self.identity(run, n)]
        return next(
            (other for other, m in twins if other != run and space.has_ended(other, m)), None
        )

    def marker(self, run: Run, what: str) -> Marker:
        """Of a part of the run's work, beside part.sh's own."""
        return Marker(self.space(run).exp(run) / f".done/evidence_{what}")

    def _settings(self, corpus: str) -> dict[str, Any]:
        """The options of the runs on a corpus, with the files that they name as they were at first."""
        if corpus not in self._named:
            self._named[corpus] = self.spaces[corpus].settings(self.plan.options_of(corpus))
        return self._named[corpus]

    def state(self, run: Run, n: int = STAGES[-1]) -> str:
        """What a run depends on up to stage ``n``; part.sh's keys say it more finely, but need a second."""
        space = self.space(run)
        options = self._settings(space.corpus)
        options = {name: value for name, value in options.items() if name not in _SEARCH}
        return digest(self.identity(run, n), options, space.identity())

    def test_key(self, run: Run) -> str:
        """What the hypotheses of the test set depend on."""
        return digest(self.state(run), self._search(run))

    def _search(self, run: Run) -> list[Any]:
        options = self._settings(run.setting.corpus)
        return [options.get(name) for name in _SEARCH]

    def is_trained(self, run: Run, n: int | None = None) -> bool:
        """Whether the run's stages up to ``n``, or all of them, are there and up to date."""
        n = n or max(self.contents(run))
        done = self.marker(run, f"stage{n}").read()
        there = self.space(run).has_ended(run, n)
        return there and done is not None and done.key == self.state(run, n)

    def is_tested(self, run: Run) -> bool:
        done = self.marker(run, "tested").read()
        there = test_text(self.space(run), run) is not None
        return there and done is not None and done.key == self.test_key(run)

    def has_final(self, run: Run) -> bool:
        """Whether dev has been decoded with the final model."""
        return any(self.is_decoded(run, point) for point in self._final(run))

    def _final(self, run: Run) -> list[Point]:
        """The final model of a run, if there is one."""
        return [final_point(self.space(run), run, last) for last in self.ends(run)[-1:]]

    def ends(self, run: Run) -> list[Point]:
        """The ends of the phases of a run that is trained; none where its history is damaged."""
        try:
            return points(self.space(run), run) if self.is_trained(run) else []
        except DataError as error:
            logging.warning("%s", error)
            return []

    def is_decoded(self, run: Run, point: Point) -> bool:
        """Whether dev has been decoded with these weights and this search."""
        done = Marker(point.out / ".done").read()
        if done is None or not (point.out / "text").is_file():
            return False
        try:
            return done.key == self.decoding_key(run, point)
        except DataError:  # told when it is to be decoded
            return False

    def decoding_key(self, run: Run, point: Point) -> str:
        """What the hypotheses of dev depend on."""
        space = self.space(run)
        made_of = [self._search(run), self._settings(space.corpus).get("model_config")]
        return digest(weights.identity(point.weights), made_of, space.valid_set, space.identity())

    def open_points(self, work: Work) -> list[Point]:
        """Where dev is still to be decoded."""
        space = self.space(work.run)
        ends = points(space, work.run)
        wanted = ends if work.curve else []
        if work.final:
            wanted = [*wanted, *(final_point(space, work.run, last) for last in ends[-1:])]
        return [point for point in wanted if not self.is_decoded(work.run, point)]


def merged(works: Iterable[Work]) -> list[Work]:
    """One item a run, for two at a time would be in each other's way; in the order of the first."""
    found: dict[Run, Work] = {}
    for work in works:
        known = found.get(work.run, Work(work.run))
        found[work.run] = Work(
            work.run,
            final=known.final or work.final,
            curve=known.curve or work.curve,
            test=known.test or work.test,
        )
    return list(found.values())


def corpus_name(corpus: str) -> str:
    """What it is called among the failures."""
    return f"corpus {corpus}"
