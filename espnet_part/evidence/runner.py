"""Running what a plan declares: one training after another or a few side by side, as far as time goes.

Each run is the recipe's own part.sh, which knows what is done; a stage that two runs share is trained
once. Whatever ends this program, typed again it goes on.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

from espnet_part.errors import UserError
from espnet_part.evidence.evaluation import Point, spoken
from espnet_part.evidence.plan import Plan, Run
from espnet_part.evidence.record import Evidence, Work, corpus_name, merged
from espnet_part.evidence.workspace import Workspace
from espnet_part.files import atomic_write
from espnet_part.kaldi import format_line, write_table
from espnet_part.recipe.jobs import run_on_leash
from espnet_part.recipe.markers import Marker
from espnet_part.recipe.options import split_words
from espnet_part.score.decoded import collect_hypotheses


class OutOfTime(UserError):
    """The hours that were given are used up."""


class Runner(Evidence):
    """Does what is not there yet."""

    def __init__(self, plan: Plan, recipe: Path, out: Path, only: Sequence[str] = ()) -> None:
        super().__init__(plan, recipe, out, only)
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._printing = threading.Lock()
        self._deadline = float("inf")

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
            self._try(corpus_name(corpus), partial(self._make_corpus, space, run))

    def _make_corpus(self, space: Workspace, run: Run) -> None:
        space.link()
        self.say(f"corpus {space.corpus}: data and base models; log: {space.root}/prepare.log")
        config = space.write_schedule(run)
        self._part(space, space.root / "prepare.log", config, "prepare", 0, "--stop_stage", "6")

    def _run(self, wanted: Iterable[Work], jobs: int) -> None:
        todo = merged(wanted)
        late: list[OutOfTime] = []

        def one(number: int, work: Work) -> None:
            if late or corpus_name(work.run.setting.corpus) in self.failures:
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
        for point in self.open_points(work):
            self._check_time()
            self.say(f"{name}: dev at the end of stage {point.stage}, {point.phase}")
            key, done = self.decoding_key(run, point), Marker(point.out / ".done")
            done.begin(key)
            self._decode(space, point)
            done.finish(key, None)
        if work.test and not self.is_tested(run):
            self._check_time()
            self.say(f"{name}: test set")
            log = space.exp(run) / "evidence.log"
            self._part(space, log, run.schedule, run.tag, run.seed, *self._of(space, run, 10))
            self.marker(run, "tested").finish(self.test_key(run), None)

    def _train(self, space: Workspace, run: Run, name: str) -> None:
        config = space.write_schedule(run)
        with self._locks[f"data {space.train_set(run.setting)}"]:
            space.thin_out(run.setting)
        log = space.exp(run) / "evidence.log"
        for n in self.contents(run):
            self._check_time()
            with self._locks[self.identity(run, n)]:
                other = self.twin(run, n)
                if other is not None:
                    self.say(f"{name}: stage {n} is that of {other.tag}")
                    space.adopt(run, n, other)
                else:
                    self.say(f"{name}: stage {n}; log: {space.stage(run, n)}/train.log")
                self._part(space, log, config, run.tag, run.seed, *self._of(space, run, n + 6))
                self.marker(run, f"stage{n}").finish(self.state(run, n), None)

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
