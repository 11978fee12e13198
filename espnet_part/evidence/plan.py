"""What a recipe's conf/evidence.yaml declares: systems, seeds, questions, claims, and the runs of these."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from espnet_part.config import build, load_yaml
from espnet_part.errors import ConfigError, did_you_mean

_STRICT = pydantic.ConfigDict(extra="forbid")
_SET_HERE = frozenset(
    ("part_config", "part_tag", "main_tag", "seed", "stage", "stop_stage", "dumpdir", "expdir")
)
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
Measure = Literal["wer", "bleu"]
_Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class System:
    """A system of the recipe, or one changed in a few words.

    Attributes:
        of: the directory of conf/ that it is made of; by default the system's own name.
        stage1, stage2, stage3: {phase: change}, in the words of `espnet_part.phases`, except those that
            take from other stage files.
        is_a: what it is, for the tables.
    """

    of: str = ""
    stage1: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    stage2: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    stage3: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    is_a: str = ""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Setting:
    """What all systems of a comparison share.

    Attributes:
        corpus: a key of the plan's ``corpora``.
        s2tt: share of the speech translations that training has; all else stays.
        steps: factor of the number of steps of each phase.
        batch: factor of the size of a step.
    """

    corpus: str
    s2tt: float = Field(default=1.0, gt=0, le=1)
    steps: _Factor = 1.0
    batch: _Factor = 1.0

    @property
    def suffix(self) -> str:
        """What of it is not as usual, for the name of a run; the corpus has a directory."""
        parts = [
            f"_{name}{getattr(self, name):g}"
            for name in ("s2tt", "steps", "batch")
            if getattr(self, name) != 1
        ]
        return "".join(parts)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Question:
    """A few systems compared in one or several settings.

    Attributes:
        asks: the question itself.
        pairs: [first, second]: what the first has over the second is estimated.
        settings: each a change of the plan's ``setting``.
        seeds: how many of the plan's seeds; all by default.
        curves: whether dev is decoded at every phase's end.
    """

    asks: str
    pairs: list[tuple[str, str]] = Field(min_length=1)
    settings: list[dict[str, Any]] = Field(default=[{}], min_length=1)
    seeds: int | None = Field(default=None, ge=1)
    curves: bool = False

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(name for pair in self.pairs for name in pair))


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Claim:
    """What the paper says of two systems.

    Attributes:
        says: the claim, in words.
        paper: the paper's own figures.
        better, worse: systems; compared in the usual setting of a question that pairs them.
    """

    says: str
    paper: str
    better: str
    worse: str
    by: list[Measure] = Field(default=["wer", "bleu"], min_length=1)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Cost:
    """What a machine takes where nothing has been measured yet, in seconds.

    Attributes:
        prepare: of a corpus and its base models.
        step: of an optimizer step.
        example: of decoding an example.
    """

    prepare: _Seconds = 1800.0
    step: _Seconds = 1.0
    example: _Seconds = 0.15


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Plan:
    """The whole of conf/evidence.yaml.

    Attributes:
        options: of part.sh, for every run.
        corpora: {name: options of part.sh that make it}.
        setting: what is usual.
        rates: factors of all learning rates, tried for each system with the first seed in the usual
            setting; that with the best dev figures is taken in all settings.
    """

    title: str
    options: dict[str, str | int | float | bool] = field(default_factory=dict)
    corpora: dict[str, dict[str, str | int | float | bool]] = Field(min_length=1)
    setting: Setting
    seeds: list[int] = Field(min_length=1)
    rates: list[float] = Field(default=[1.0], min_length=1)
    systems: dict[str, System] = Field(min_length=1)
    questions: dict[str, Question] = Field(min_length=1)
    claims: list[Claim] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)

    def options_of(self, corpus: str) -> dict[str, str | int | float | bool]:
        """The options of part.sh for the runs on a corpus."""
        return {**self.options, **self.corpora[corpus]}

    def settings_of(self, question: Question) -> list[Setting]:
        return [replace(self.setting, **change) for change in question.settings]

    def seeds_of(self, question: Question) -> list[int]:
        return self.seeds[: question.seeds]


@dataclass(frozen=True)
class Run:
    """One training of a system with one seed, in one setting, with one factor of the learning rates."""

    system: str
    setting: Setting
    rate: float
    seed: int

    @property
    def tag(self) -> str:
        """Its directory below the corpus' exp."""
        return f"{self._schedule}_seed{self.seed}"

    @property
    def schedule(self) -> str:
        """The directory of its stage files, as part.sh is told it; all seeds have the same."""
        return f"conf/runs/{self._schedule}"

    @property
    def _schedule(self) -> str:
        return f"{self.system}_x{self.rate:g}{self.setting.suffix}"


def load_plan(path: str | Path) -> Plan:
    """Read conf/evidence.yaml.

    Raises:
        ConfigError: names the file, the key and the mend.
    """
    plan = build(Plan, load_yaml(path), str(path))
    for name in (*plan.corpora, *plan.systems, *plan.questions):
        if not _NAME.match(name):
            raise ConfigError(f"{path}: {name}: a name has small letters, digits and _ only")
    for options in (plan.options, *plan.corpora.values()):
        for name in sorted(options.keys() & _SET_HERE):
            raise ConfigError(f"{path}: the option {name} is set for each run and cannot be given")
    for what, values in (("seeds", plan.seeds), ("rates", plan.rates)):
        if len(set(values)) < len(values):
            raise ConfigError(f"{path}: {what}: one is given twice: {values}")
    if min(plan.seeds) < 0 or not all(0 < rate < math.inf for rate in plan.rates):
        raise ConfigError(f"{path}: seeds must not be negative, and rates finite and above 0")
    for corpus in plan.corpora:
        _check_sets(plan, corpus, f"{path}: corpus {corpus}")
    compared = set()
    for name, question in plan.questions.items():
        where = f"{path}: questions: {name}"
        if any(first == second for first, second in question.pairs):
            raise ConfigError(f"{where}: pairs: a system is compared with itself")
        if question.seeds is not None and question.seeds > len(plan.seeds):
            raise ConfigError(
                f"{where}: seeds: {question.seeds} of {len(plan.seeds)}: the plan has no more"
            )
        _known(question.systems, plan.systems, f"{where}: pairs")
        for change in question.settings:
            build(Setting, {**_mapping(plan.setting), **change}, f"{where}: settings")
        settings = plan.settings_of(question)
        if len(set(settings)) < len(settings):
            raise ConfigError(f"{where}: settings: one is given twice")
        if plan.setting in settings:
            compared |= set(question.pairs) | {(b, a) for a, b in question.pairs}
        _known([setting.corpus for setting in settings], plan.corpora, f"{where}: settings")
        if any(
            setting.s2tt < 1 and plan.options_of(setting.corpus).get("cache_features")
            for setting in settings
        ):
            raise ConfigError(
                f"{where}: settings: s2tt: needs the option cache_features to be false"
            )
    for claim in plan.claims:
        _known([claim.better, claim.worse], plan.systems, f"{path}: claims")
        if (claim.better, claim.worse) not in compared:
            raise ConfigError(
                f"{path}: claims: no question compares {claim.better} and {claim.worse} in the "
                "usual setting"
            )
    _check_tags(plan, str(path))
    return plan


def _check_sets(plan: Plan, corpus: str, where: str) -> None:
    """See that there is one test set, and that nothing is chosen on it.

    Raises:
        ConfigError: it is not so.
    """
    options = plan.options_of(corpus)
    tests = str(options.get("test_sets", "test")).split()
    if len(tests) != 1:
        raise ConfigError(f"{where}: the option test_sets must name one set: {' '.join(tests)!r}")
    if tests[0] in (options.get("valid_set", "valid"), options.get("train_set", "train")):
        raise ConfigError(f"{where}: the test set {tests[0]} is trained or chosen on")


def _check_tags(plan: Plan, where: str) -> None:
    """See that each run has a directory of its own.

    Raises:
        ConfigError: two share one.
    """
    runs = set(all_runs(plan))
    names = Counter((run.setting.corpus, run.tag) for run in runs)
    names += Counter(
        (corpus, f"s2tt{share:g}")
        for corpus, share in {(run.setting.corpus, run.setting.s2tt) for run in runs}
    )
    (_, name), number = names.most_common(1)[0]
    if number > 1:
        raise ConfigError(
            f"{where}: two runs would share the directory {name}: give rounder factors"
        )


def _known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: {did_you_mean(name, list(known))}")


def _mapping(setting: Setting) -> dict[str, Any]:
    return {item.name: getattr(setting, item.name) for item in fields(setting)}


def all_runs(plan: Plan) -> Iterator[Run]:
    """The runs of all questions, whatever the grid may choose, and those of the grid; some twice."""
    for question in plan.questions.values():
        grid = [plan.setting] if len(plan.rates) > 1 else []
        for setting in [*plan.settings_of(question), *grid]:
            for system in question.systems:
                for rate in plan.rates:
                    for seed in plan.seeds_of(question):
                        yield Run(system, setting, rate, seed)


def grid_runs(plan: Plan, systems: Iterable[str]) -> Iterator[Run]:
    """The runs among which each system's factor is chosen; none where there is one factor only."""
    if len(plan.rates) > 1:
        for system in systems:
            for rate in plan.rates:
                yield Run(system, plan.setting, rate, plan.seeds[0])


def question_runs(plan: Plan, question: Question, chosen: Mapping[str, float]) -> Iterator[Run]:
    """The runs of a question, seed by seed, so that all systems have as many when time is up.

    Args:
        chosen: the factor of each system; systems without one are left out.
    """
    for seed in plan.seeds_of(question):
        for setting in plan.settings_of(question):
            for system in question.systems:
                if system in chosen:
                    yield Run(system, setting, chosen[system], seed)
