"""What a recipe's conf/evidence.yaml declares: systems, seeds, questions, claims, and the runs of these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any, Literal

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
    steps: float = Field(default=1.0, gt=0)
    batch: float = Field(default=1.0, gt=0)

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
    settings: list[dict[str, Any]] = field(default_factory=lambda: [{}])
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
        better, worse: systems; compared in the first setting of a question that pairs them.
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

    prepare: float = 1800.0
    step: float = 1.0
    example: float = 0.15


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
        return f"{self.system}_x{self.rate:g}{self.setting.suffix}_seed{self.seed}"


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
    if min(plan.seeds) < 0 or min(plan.rates) <= 0:
        raise ConfigError(f"{path}: seeds must not be negative, and rates must be above 0")
    compared = set()
    for name, question in plan.questions.items():
        where = f"{path}: questions: {name}"
        _known(question.systems, plan.systems, f"{where}: pairs")
        for change in question.settings:
            build(Setting, {**_mapping(plan.setting), **change}, f"{where}: settings")
        settings = plan.settings_of(question)
        if len(set(settings)) < len(settings):
            raise ConfigError(f"{where}: settings: one is given twice")
        if settings[0] == plan.setting:
            compared |= set(question.pairs) | {(b, a) for a, b in question.pairs}
        _known([setting.corpus for setting in settings], plan.corpora, f"{where}: settings")
        if plan.options.get("cache_features") and any(setting.s2tt < 1 for setting in settings):
            raise ConfigError(
                f"{where}: settings: s2tt: needs the option cache_features to be false"
            )
    for claim in plan.claims:
        _known([claim.better, claim.worse], plan.systems, f"{path}: claims")
        if (claim.better, claim.worse) not in compared:
            raise ConfigError(
                f"{path}: claims: no question compares {claim.better} and {claim.worse} in its first, "
                "usual setting"
            )
    return plan


def _known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: {did_you_mean(name, list(known))}")


def _mapping(setting: Setting) -> dict[str, Any]:
    return {item.name: getattr(setting, item.name) for item in fields(setting)}


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
