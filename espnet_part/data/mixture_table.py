"""What a stage is expected to hear of each stratum, before it is trained: a table and warnings."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_part.data import Stratum
from espnet_part.data.shares import by_task
from espnet_part.document import aligned_table
from espnet_part.tasks import by_rank

#: Epochs of a stage above which a stratum is named. Beyond about 16, repeated text is worth little to a
#: language model (Muennighoff et al., 2023); speech that is augmented bears some more.
MANY_EPOCHS = 20
#: A stratum of which a stage hears fewer examples is named, if it has more: too few to learn from.
FEW_EXAMPLES = 100


@dataclass(frozen=True)
class PhaseMixture:
    """What one phase hears.

    Attributes:
        name: of the phase.
        sizes: examples of each stratum. hours: of speech of each stratum; 0 for text.
        examples: that the phase is expected to draw.
        shares: of each stratum among them; their sum may be anything.
        bound: the key that set a stratum's share (`max_epochs`, `min_share`), where one did.
    """

    name: str
    sizes: Mapping[Stratum, float]
    hours: Mapping[Stratum, float]
    examples: float
    shares: Mapping[Stratum, float]
    bound: Mapping[Stratum, str]

    def heard(self, strata: Collection[Stratum]) -> Portion:
        """What is heard of some strata together."""
        here = [stratum for stratum in strata if stratum in self.shares]
        whole = math.fsum(self.shares.values())
        share = {stratum: self.shares[stratum] / whole for stratum in here}
        return Portion(
            math.fsum(share.values()),
            math.fsum(share[s] * self.examples for s in here),
            math.fsum(share[s] * self.examples / self.sizes[s] * self.hours[s] for s in here),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values, by the names of strata."""
        values: dict[str, Any] = {"examples": self.examples, "strata": {}}
        for stratum in self.shares:
            heard = self.heard([stratum])
            values["strata"]["/".join(stratum)] = {
                "share": heard.share,
                "hours": heard.hours,
                "epochs": heard.examples / self.sizes[stratum],
                "bound": self.bound.get(stratum),
            }
        return values


@dataclass(frozen=True)
class Portion:
    """What a phase hears of something: its share of the examples, examples, hours of speech."""

    share: float
    examples: float
    hours: float


def mixture_table(phases: Sequence[PhaseMixture]) -> str:
    """The strata of a stage as a Markdown table, the largest of a task first, and totals.

    For each phase: the share of its examples, the hours and the epochs (how often an example is heard
    on the average); then hours and epochs of the whole stage. "max" and "min" stand where `max_epochs`
    or `min_share` set a share.
    """
    sizes, hours = _data(phases)
    header = ["task", "language", "into", "utterances", "hours"]
    for phase in phases:
        header += [f"{phase.name}: share", "hours", "epochs"]
    if len(phases) > 1:
        header += ["stage: hours", "epochs"]
    rows = [header]
    for names, strata in _lines(sizes):
        size = math.fsum(sizes[s] for s in strata)
        row = [*names, f"{size:,.0f}", _hours(math.fsum(hours[s] for s in strata))]
        heard = [phase.heard(strata) for phase in phases]
        for phase, of_phase in zip(phases, heard, strict=True):
            if not any(stratum in phase.shares for stratum in strata):
                row += ["", "", ""]
                continue
            bound = phase.bound.get(strata[0]) if len(strata) == 1 and names[1] != _ALL else None
            share, epochs = f"{100 * of_phase.share:.3g} %", _epochs(of_phase.examples / size)
            row += [
                f"min {share}" if bound == "min_share" else share,
                _hours(of_phase.hours),
                f"max {epochs}" if bound == "max_epochs" else epochs,
            ]
        if len(phases) > 1:
            row.append(_hours(math.fsum(h.hours for h in heard)))
            row.append(_epochs(math.fsum(h.examples for h in heard) / size))
        rows.append(row)
    return aligned_table(rows, numbers=range(3, len(header)))


def stage_mixture(stage: str, phases: Sequence[PhaseMixture]) -> str:
    """The table and the warnings of a stage, under a line that names it."""
    lines = [f"What {stage} is to hear", "", mixture_table(phases)]
    warnings = [f"- warning: {warning}" for warning in mixture_warnings(phases)]
    return "\n".join([*lines, *(["", *warnings] if warnings else [])])


def mixture_warnings(phases: Sequence[PhaseMixture]) -> list[str]:
    """What is heard too often in a stage, and what too little, in a line each."""
    sizes, _ = _data(phases)
    heard = {s: math.fsum(phase.heard([s]).examples for phase in phases) for s in sizes}
    often = {s: heard[s] / sizes[s] for s in sizes if heard[s] > MANY_EPOCHS * sizes[s]}
    rarely = {s: heard[s] for s in sizes if heard[s] < min(FEW_EXAMPLES, sizes[s] * (1 - 1e-6))}
    said = []
    if often:
        most = max(often, key=lambda s: often[s])
        said.append(
            f"{_strata(often)} heard more than {MANY_EPOCHS} times, most of all {'/'.join(most)}: "
            f"{often[most]:.3g} times (`max_epochs` of a phase limits that)"
        )
    if rarely:
        least = min(rarely, key=lambda s: rarely[s])
        said.append(
            f"{_strata(rarely)} heard in fewer than {FEW_EXAMPLES} utterances of more, least of all "
            f"{'/'.join(least)}: {rarely[least]:.3g} of {sizes[least]:,.0f} (`language_temperature` or "
            "`min_share` of a phase raises that)"
        )
    return said


_ALL = "**all**"


def _data(
    phases: Sequence[PhaseMixture],
) -> tuple[dict[Stratum, float], dict[Stratum, float]]:
    """Examples and hours of all strata of a stage."""
    sizes: dict[Stratum, float] = {}
    hours: dict[Stratum, float] = {}
    for phase in phases:
        for stratum, size in phase.sizes.items():
            sizes.setdefault(stratum, size)
            hours.setdefault(stratum, phase.hours[stratum])
    return sizes, hours


def _lines(sizes: Mapping[Stratum, float]) -> Iterator[tuple[tuple[str, str, str], list[Stratum]]]:
    """The names and the strata of each line."""
    tasks = by_task(sizes)
    for task in sorted(tasks, key=by_rank):
        for stratum in sorted(tasks[task], key=lambda s: (-sizes[s], s)):
            yield stratum, [stratum]
        yield (task, _ALL, _ALL), tasks[task]
    if len(tasks) > 1:
        yield (_ALL, _ALL, _ALL), list(sizes)


def _hours(hours: float) -> str:
    return f"{hours:,.2f}" if hours else ""


def _epochs(epochs: float) -> str:
    return f"{epochs:.3g}" if epochs < 1000 else f"{epochs:,.0f}"


def _strata(found: Collection[Stratum]) -> str:
    return f"{len(found)} strata are" if len(found) > 1 else "1 stratum is"
