"""Running what a plan declares: one training after another or a few side by side, as far as time goes.

Each run is the recipe's own part.sh, which knows what is done; a stage that two runs share (the same
data, seed and stage files so far) is trained once. Whatever ends this program, typed again it goes on.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from espnet_part import weights
from espnet_part.errors import ConfigError, DataError, UserError, did_you_mean
from espnet_part.evidence.evaluation import (
    Point,
    dev_figures,
    final_point,
    merit,
    points,
    spoken,
    test_text,
)
from espnet_part.evidence.plan import Plan, Question, Run, all_runs, grid_runs, question_runs
from espnet_part.evidence.schedules import STAGES, stage_files
from espnet_part.evidence.workspace import Workspace
from espnet_part.files import atomic_write
from espnet_part.kaldi import format_line, write_table
from espnet_part.parsing import read_json_object
from espnet_part.recipe.jobs import run_on_leash
from espnet_part.recipe.keys import digest
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.options import split_words
from espnet_part.score.decoded import collect_hypotheses

#: Options of part.sh that change what is decoded, and no training.
_SEARCH = ("decode_config", "inference_args", "inference_model", "inference_batch_size")


class OutOfTime(UserError):
    """The hours that were given are used up."""


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
    """A plan, and where its runs are.

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
        names = {*map(self.name, all_runs(plan)), *map(_corpus_name, plan.corpora)}
        self.failures: dict[str, str] = {n: str(why) for n, why in known.items() if n in names}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._printing = threading.Lock()
        self._deadline = float("inf")

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

    # ------------------------------------------------------------------------------------ the work

    def work(self, jobs: int = 1, max_hours: float | None = None) -> None:
        """Run all that is asked for and not done; failures are collected.

        Raises:
            OutOfTime: not all is done.
        """
        if max_hours is not None:
            self._deadline = time.monotonic() + 3600 * max_hours
        try:
            self._prepare()
            self._run(self.grid_work(), jobs)
            chosen = {s: rate for s in self.systems if (rate := self.chosen(s)) is not None}
            wanted = [w for q in self.questions.values() for w in self.question_work(q, chosen)]
            self._run(wanted, jobs)
        finally:
            with atomic_write(self.out / "failures.json") as file:
                json.dump(self.failures, file, indent=1)
                file.write("\n")

    def say(self, message: str) -> None:
        with self._printing:
            now = datetime.now().isoformat(timespec="seconds")
            print(f"{now} (part_evidence) {message}", flush=True)

    def _prepare(self) -> None:
        """Data and base models of all corpora that are asked for."""
        settings = [s for q in self.questions.values() for s in self.plan.settings_of(q)]
        for corpus in dict.fromkeys([self.plan.setting.corpus, *(s.corpus for s in settings)]):
            self._check_time()
            space = self.spaces[corpus]
            run = Run(self.systems[0], self.plan.setting, 1.0, self.plan.seeds[0])
            self._try(_corpus_name(corpus), partial(self._make_corpus, space, run))

    def _make_corpus(self, space: Workspace, run: Run) -> None:
        space.link()
        self.say(f"corpus {space.corpus}: data and base models; log: {space.root}/prepare.log")
        config = space.write_schedule(run)
        self._part(space, space.root / "prepare.log", config, "prepare", 0, "--stop_stage", "6")

    def _run(self, wanted: Iterable[Work], jobs: int) -> None:
        todo = _merged(wanted)
        late: list[OutOfTime] = []

        def one(number: int, work: Work) -> None:
            if late or _corpus_name(work.run.setting.corpus) in self.failures:
                return
            try:
                self._check_time()
                name = self.name(work.run)
                self._try(name, partial(self._do, work, f"[{number}/{len(todo)}] {name}"))
            except OutOfTime as error:
                late.append(error)

        with ThreadPoolExecutor(max(1, jobs)) as pool:
            list(pool.map(one, range(1, len(todo) + 1), todo))
        if late:
            raise late[0]

    def _try(self, name: str, work: Callable[[], None]) -> None:
        """One failure does not keep others from running."""
        try:
            work()
        except OutOfTime:
            raise
        except (UserError, OSError) as error:
            self.failures[name] = str(error)
            self.say(f"FAILED: {name}: {error}")
        else:
            self.failures.pop(name, None)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime("the hours of --max_hours are used up; the same command goes on")

    def _do(self, work: Work, name: str) -> None:
        space, run = self.space(work.run), work.run
        if not self.is_trained(run):
            self._train(space, run, name)
        for point in self._open_points(work):
            self._check_time()
            self.say(f"{name}: dev at the end of stage {point.stage}, {point.phase}")
            key, done = self._decoding_key(run, point), Marker(point.out / ".done")
            done.begin(key)
            self._decode(space, point)
            done.finish(key, None)
        if work.test and not self.is_tested(run):
            self._check_time()
            self.say(f"{name}: test set")
            log = space.exp(run) / "evidence.log"
            self._part(space, log, run.schedule, run.tag, run.seed, *self._of(space, run, 10))
            self._marker(run, "tested").finish(self._test_key(run), None)

    def _train(self, space: Workspace, run: Run, name: str) -> None:
        config = space.write_schedule(run)
        with self._locks[f"data {space.train_set(run.setting)}"]:
            space.thin_out(run.setting)
        log = space.exp(run) / "evidence.log"
        for n in self.contents(run):
            self._check_time()
            with self._locks[self.identity(run, n)]:
                other = self._twin(run, n)
                if other is not None:
                    self.say(f"{name}: stage {n} is that of {other.tag}")
                    space.adopt(run, n, other)
                else:
                    self.say(f"{name}: stage {n}; log: {space.stage(run, n)}/train.log")
                self._part(space, log, config, run.tag, run.seed, *self._of(space, run, n + 6))
                self._marker(run, f"stage{n}").finish(self._state(run, n), None)

    def _of(self, space: Workspace, run: Run, last: int) -> list[str]:
        own = ["--train_set", space.train_set(run.setting), "--skip_data_prep", "true"]
        return [*own, "--stop_stage", str(last)]

    def _part(
        self, space: Workspace, log: Path, config: str, tag: str, seed: int, *words: str
    ) -> None:
        options = self.plan.options_of(space.corpus)
        command: list[str | Path] = ["./part.sh"]
        for name, value in options.items():
            said = str(value).lower() if isinstance(value, bool) else str(value)
            command += [f"--{name}", said]
        command += ["--part_config", config, "--part_tag", tag, "--main_tag", tag]
        self._call(space, log, [*command, "--seed", str(seed), *words])

    def _decode(self, space: Workspace, point: Point) -> None:
        """Decode dev with the recipe's own program and search."""
        options, root = self.plan.options_of(space.corpus), space.root
        keys = point.out / "keys.scp"
        with atomic_write(keys) as file:
            file.writelines(format_line(keys, utt, "") for utt in spoken(space))
        command: list[str | Path] = [sys.executable, "-m", "espnet_part.bin.part_inference"]
        given = {
            "part_train_config": point.weights.with_name("config.yaml").relative_to(root),
            "part_model_file": point.weights.relative_to(root),
            "data_dir": f"dump/raw/{space.valid_set}",
            "key_file": keys.relative_to(root),
            "output_dir": (point.out / "logdir/output.1").relative_to(root),
            "num_threads": 1,
            "config": options.get("decode_config"),
            "batch_size": options.get("inference_batch_size"),
            "ngpu": 1 if options.get("gpu_inference") else 0,
        }
        for name, value in given.items():
            command += [f"--{name}", str(value)] if value not in (None, "") else []
        command += split_words(str(options.get("inference_args", "")))
        self._call(space, point.out / "decode.log", command)
        write_table(point.out / "text", collect_hypotheses(point.out).items())

    def _call(self, space: Workspace, log: Path, command: Sequence[str | Path]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            status = run_on_leash(command, file, file, directory=space.root)
        if status:
            raise UserError(f"ended with status {status}; see the end of {log}")

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

    def _twin(self, run: Run, n: int) -> Run | None:
        """Another run that has trained the same stage, where this one has not."""
        space = self.space(run)
        if space.has_ended(run, n):
            return None
        twins = self._alike[self.identity(run, n)]
        return next(
            (other for other, m in twins if other != run and space.has_ended(other, m)), None
        )

    def _marker(self, run: Run, what: str) -> Marker:
        return Marker(self.space(run).exp(run) / f".done/evidence_{what}")

    def _settings(self, corpus: str) -> dict[str, Any]:
        """The options of the runs on a corpus, with the files that they name as they were at first."""
        if corpus not in self._named:
            self._named[corpus] = self.spaces[corpus].settings(self.plan.options_of(corpus))
        return self._named[corpus]

    def _state(self, run: Run, n: int = STAGES[-1]) -> str:
        """What a run depends on up to stage ``n``; part.sh's keys say it more finely, but need a second."""
        space = self.space(run)
        options = self._settings(space.corpus)
        options = {name: value for name, value in options.items() if name not in _SEARCH}
        return digest(self.identity(run, n), options, space.identity())

    def _test_key(self, run: Run) -> str:
        return digest(self._state(run), self._search(run))

    def _search(self, run: Run) -> list[Any]:
        options = self._settings(run.setting.corpus)
        return [options.get(name) for name in _SEARCH]

    def is_trained(self, run: Run, n: int | None = None) -> bool:
        """Whether the run's stages up to ``n``, or all of them, are there and up to date."""
        n = n or max(self.contents(run))
        done = self._marker(run, f"stage{n}").read()
        there = self.space(run).has_ended(run, n)
        return there and done is not None and done.key == self._state(run, n)

    def is_tested(self, run: Run) -> bool:
        done = self._marker(run, "tested").read()
        there = test_text(self.space(run), run) is not None
        return there and done is not None and done.key == self._test_key(run)

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
            return done.key == self._decoding_key(run, point)
        except DataError:  # told when it is to be decoded
            return False

    def _decoding_key(self, run: Run, point: Point) -> str:
        space = self.space(run)
        made_of = [self._search(run), self._settings(space.corpus).get("model_config")]
        return digest(weights.identity(point.weights), made_of, space.valid_set, space.identity())

    def _open_points(self, work: Work) -> list[Point]:
        space = self.space(work.run)
        ends = points(space, work.run)
        wanted = ends if work.curve else []
        if work.final:
            wanted = [*wanted, *(final_point(space, work.run, last) for last in ends[-1:])]
        return [point for point in wanted if not self.is_decoded(work.run, point)]


def _merged(works: Iterable[Work]) -> list[Work]:
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


def _corpus_name(corpus: str) -> str:
    """What it is called among the failures."""
    return f"corpus {corpus}"
