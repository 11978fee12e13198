"""The schedule of a stage: phases, each with one trainable set and one task mixture.

It knows nothing of speech. It sees names of parameters and modules, and names of tasks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic.dataclasses import dataclass

from espnet_part.config import build
from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.schedule.selectors import select

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(gt=0, le=1)]
#: At less, the power of a large stratum would be more than a number can be.
Temperature = Annotated[float, pydantic.Field(ge=0.1, allow_inf_nan=False)]
Count = Annotated[int, pydantic.Field(gt=0, strict=True)]


@dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid"))
class Phase:
    """A part of a stage.

    Attributes:
        name: Shown in logs and tables; unique within the stage.
        train: Selectors of what trains; everything else is frozen.
        lr: Peak learning rate by group (the first part of a parameter's name).
        tasks: A list of tasks (mixed by their natural size; every example once an epoch) or
            a mapping from task to sampling weight.
        steps: Optimizer steps; or
        epochs: passes over the mixture.
        language_temperature: T of p ~ n^(1/T) among the languages of a task
            (1: as they are; larger: flatter).
        max_epochs: How often the phase may go through a language of a task at most; the others of
            the task get what it loses. A number, or a mapping with the keys `LANG`, `TASK/LANG`,
            `TASK/LANG/TARGET`, `TASK/*` and `*` (the narrowest that fits counts).
        min_share: The least share of a language among the examples of its task, as far as
            `max_epochs` lets it; given alike.
        restart_warmup: Whether the learning-rate scheduler starts anew with this phase.
        scheduler_conf: Changes to the stage's `scheduler_conf` for this phase.
        loss: "answer", the paper's, or "adapter": that of an adapter that learns from transcripts
            (`ctc_spelling`) alone, for which the LLM is not run.
    """

    name: str
    train: Annotated[list[str], pydantic.Field(min_length=1)]
    lr: dict[str, Positive]
    tasks: list[str] | dict[str, Positive]
    steps: Count | None = None
    epochs: Count | None = None
    language_temperature: Temperature = 1.0
    max_epochs: Positive | dict[str, Positive] | None = None
    min_share: Share | dict[str, Share] | None = None
    restart_warmup: bool = True
    scheduler_conf: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss: Literal["answer", "adapter"] = "answer"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either `steps` or `epochs`")
        if not self.tasks:
            raise ValueError("`tasks` is empty: name at least one task, such as `tasks: [asr]`")
        if isinstance(self.tasks, list) and len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"`tasks` names a task twice: {self.tasks}")

    @property
    def length(self) -> str:
        """How long the phase lasts, in words."""
        return f"{self.steps} steps" if self.steps is not None else f"{self.epochs} epochs"

    @property
    def languages(self) -> list[str]:
        """How the languages of a task are mixed, in words; empty where by their size."""

        def shown(setting: float | dict[str, float], scale: float, unit: str) -> str:
            if isinstance(setting, dict):
                shares = (f"{name} {scale * value:g}{unit}" for name, value in setting.items())
                return f"({', '.join(shares)})"
            return f"{scale * setting:g}{unit}"

        said = []
        if self.language_temperature != 1:
            said.append(f"languages T = {self.language_temperature:g}")
        if self.max_epochs is not None:
            said.append(f"max_epochs {shown(self.max_epochs, 1, '')}")
        if self.min_share is not None:
            said.append(f"min_share {shown(self.min_share, 100, ' %')}")
        return said


@dataclasses.dataclass(frozen=True)
class Trainable:
    """What a phase trains: the names of its parameters, by group."""

    groups: dict[str, tuple[str, ...]]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for names in self.groups.values() for name in names)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The phases of one stage, in order."""

    phases: tuple[Phase, ...]
    where: str

    @classmethod
    def from_list(cls, phases: Any, where: str) -> Schedule:
        """Check and build the phases of a stage file.

        Raises:
            ConfigError: names the file, the phase, the key and the mend.
        """
        if not isinstance(phases, Sequence) or isinstance(phases, str) or not phases:
            raise ConfigError(f"{where}: phases: must be a list with at least one phase")
        built: list[Phase] = []
        for number, values in enumerate(phases, 1):
            name = values.get("name") if isinstance(values, dict) else None
            built.append(build(Phase, values, f"{where}: phase {name or number}"))
        names = [phase.name for phase in built]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{where}: phase {name}: name: another phase has the same name")
        return cls(tuple(built), where)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task of the stage, in the order in which they are brought in."""
        return tuple(dict.fromkeys(task for phase in self.phases for task in phase.tasks))

    def joined(self, number: int) -> tuple[int, int]:
        """The first and the last of the phases that share a learning-rate scheduler with one."""
        first = last = number
        while first > 0 and not self.phases[first].restart_warmup:
            first -= 1
        while last + 1 < len(self.phases) and not self.phases[last + 1].restart_warmup:
            last += 1
        return first, last

    def resolve(
        self, names: Collection[str], protected: Iterable[str] = ()
    ) -> tuple[Trainable, ...]:
        """Find what each phase trains among the model's parameter ``names``.

        Raises:
            ConfigError: a selector that matches nothing, a group without a learning rate, a learning
                rate for a group that does not train.
        """
        protected = tuple(protected)
        return tuple(self._resolve(phase, names, protected) for phase in self.phases)

    def _resolve(
        self, phase: Phase, names: Collection[str], protected: tuple[str, ...]
    ) -> Trainable:
        chosen: set[str] = set()
        for selector in phase.train:
            try:
                chosen.update(select(selector, names, protected))
            except ConfigError as error:
                raise ConfigError(f"{self.where}: phase {phase.name}: train: {error}") from None
        groups: dict[str, list[str]] = {}
        for name in names:
            if name in chosen:
                groups.setdefault(name.split(".")[0], []).append(name)
        for group in phase.lr:  # first: a misspelt group leaves another without a rate
            if group not in groups:
                raise ConfigError(
                    f"{self.where}: phase {phase.name}: lr: {did_you_mean(group, groups)} "
                    "(a rate for what does not train in this phase)"
                )
        for group in groups:
            if group not in phase.lr:
                raise ConfigError(
                    f"{self.where}: phase {phase.name}: lr: no rate for `{group}`, which trains"
                )
        return Trainable({group: tuple(members) for group, members in groups.items()})

    def check_groups(self) -> None:
        """Check `train` against `lr` by their words alone, where no model is at hand to `resolve` them.

        Raises:
            ConfigError: they name different groups.
        """
        for phase in self.phases:
            trained = {re.split(r"[.\[]", selector, maxsplit=1)[0] for selector in phase.train}
            if trained != set(phase.lr) and not any("*" in group for group in trained):
                raise ConfigError(
                    f"{self.where}: phase {phase.name}: `train` selects from "
                    f"{', '.join(sorted(trained))}, but `lr` has rates for {', '.join(sorted(phase.lr))}"
                )

    def check_losses(self, own_loss: bool) -> None:
        """Check that a phase that learns by the adapter's own loss alone has such an adapter.

        Raises:
            ConfigError: it has not.
        """
        for phase in self.phases:
            if phase.loss == "adapter" and not own_loss:
                raise ConfigError(
                    f"{self.where}: phase {phase.name}: loss: adapter: the model's speech_adapter has no "
                    "loss of its own (`ctc_spelling` has)"
                )

    def check_tasks(self, counts: dict[str, int]) -> None:
        """Check that every task of every phase has examples.

        Args:
            counts: Number of usable training examples by task.

        Raises:
            ConfigError: a phase without data.
        """
        for phase in self.phases:
            for task in phase.tasks:
                if not counts.get(task):
                    there_is = ", ".join(f"{t} ({n})" for t, n in sorted(counts.items()) if n)
                    raise ConfigError(
                        f"{self.where}: phase {phase.name}: tasks: the training data has no "
                        f"example of `{task}`; it has {there_is or 'nothing at all'}"
                    )

    def to_list(self) -> list[dict[str, Any]]:
        """The phases as plain values, for checkpoints."""
        return [dataclasses.asdict(phase) for phase in self.phases]
