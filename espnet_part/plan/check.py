"""A plan beside what a run has measured: where it holds, where not, and what that usually means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from espnet_part.document import aligned_table
from espnet_part.plan.memory import GIB
from espnet_part.plan.operations import Model
from espnet_part.plan.plan import Hardware, PhasePlan
from espnet_part.plan.run import Run
from espnet_part.report.history import PhaseRun
from espnet_part.schedule.schedule import Schedule

#: What a ratio may be. Lengths vary about the averages that a plan knows; a GPU's speed is assumed; and
#: the dearest micro-batch, for which memory is planned, may never come.
COUNTS = 0.9, 1.1
SPEED = 0.7, 1.4
MEMORY = 0.5
WAITING = 0.1  # share of a step that waits for data

#: Options that a plan depends on.
SETTINGS = (
    *("batch_type", "batch_size", "batch_bins", "accum_grad", "encoder_cost", "max_bins_per_gpu"),
    *("max_batch_size_per_gpu", "parallel", "gradient_as_bucket_view", "use_amp", "optim"),
)


#: Quantity, predicted, measured, and what is said of it (see `Check`).
Row = tuple[str, float | None, float | None, str]


@dataclass(frozen=True)
class Check:
    """A number of a phase.

    Attributes:
        predicted, measured: None where it is not known.
        said: what is out of the ordinary, or why something is not known; else empty.
    """

    stage: str
    phase: str
    quantity: str
    predicted: float | None
    measured: float | None
    said: str

    @property
    def ratio(self) -> float | None:
        """Measured by predicted."""
        if self.measured is None or not self.predicted:
            return None
        return self.measured / self.predicted

    def as_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "ratio": self.ratio}


@dataclass(frozen=True)
class Planned:
    """A stage and its plan.

    Attributes:
        options: of part_train that the plan rests on, the schedule among them.
    """

    options: Mapping[str, Any]
    schedule: Schedule
    phases: Sequence[PhasePlan]


def check_runs(
    runs: Sequence[Run],
    planned: Sequence[Planned],
    model: Model,
    hardware: Hardware,
    padding: float,
    knows_speed: bool,
) -> list[Check]:
    """Compare a chain of trainings with their plans, phase by phase.

    Args:
        padding: share of a batch that was planned for.
        knows_speed: whether ``hardware`` is what they had, not a GPU in place of a CPU.

    Raises:
        DataError: a model that a training has kept is damaged.
    """
    checks: list[Check] = []
    ever: set[str] | None = None if _begins_elsewhere(runs) else set()
    for run, stage in zip(runs, planned, strict=True):
        reached = _speeds(run, stage, hardware)
        trainable = stage.schedule.resolve(list(model.shapes), model.protected)
        peak = measured = 0.0
        for plan, chosen in zip(stage.phases, trainable, strict=True):
            peak = max(peak, plan.memory.peak)
            phase = next((phase for phase in run.phases if phase.phase == plan.phase), None)
            rows = [_steps(plan, phase)]
            if ever is not None:
                ever |= chosen.names
            if phase is not None:
                if ever is not None:
                    values = sum(math.prod(model.shapes[name]) for name in ever)
                    rows.append(_saved(values, run.saved_parameters(phase)))
                rows += _data(plan, phase, padding)
                rows += _speed(plan, phase, hardware if knows_speed else None, reached)
                if run.on_gpu:
                    rows.append(_memory(peak, phase.gpu_memory, measured, hardware.reserve))
                    measured = max(measured, phase.gpu_memory)
            checks += [
                Check(run.directory.name, plan.phase, what, predicted, _known(found), said)
                for what, predicted, found, said in rows
            ]
    return checks


def check_notes(runs: Sequence[Run], planned: Sequence[Planned], knows_speed: bool) -> list[str]:
    """What was trained otherwise than planned, and what cannot be compared."""
    said = [
        f"{run.directory.name}: {difference}"
        for run, stage in zip(runs, planned, strict=True)
        for difference in _differences(run, stage)
    ]
    if any(math.isnan(phase.mean("examples")) for run in runs for phase in run.phases):
        said.append("examples a step: older versions did not log them")
    said.append("hours of each task: logged are those of all tasks together")
    if _begins_elsewhere(runs):
        said.append(
            f"parameters ever trained: {runs[0].directory.name} goes on from {runs[0].options['part_init']}, "
            "and what that has trained is not known here; check the directory that holds both"
        )
    if not all(run.on_gpu for run in runs):
        said.append(
            "memory: without a GPU the memory of whole processes is logged, with the program and the pages "
            "of files; a plan counts neither"
        )
    if not knows_speed:
        said.append(
            "time: the speed without a GPU is not assumed but compared between phases (--gpu_tflops)"
        )
    said.append(
        "nothing is said of counts within {:g} to {:g} of the plan, of speed within {:g} to {:g}, and of "
        "memory from {:g} of the plan up to what it is with its reserve".format(
            *COUNTS, *SPEED, MEMORY
        )
    )
    return said


def check_table(checks: Sequence[Check], notes: Sequence[str]) -> str:
    """The checks as a Markdown table, and the notes below it."""
    rows = [["stage", "phase", "", "predicted", "measured", "ratio", ""]]
    place = ("", "")
    for check in checks:
        shown = ("", "") if place == (check.stage, check.phase) else (check.stage, check.phase)
        place = check.stage, check.phase
        numbers = map(_shown, (check.predicted, check.measured))
        ratio = "-" if check.ratio is None else f"{check.ratio:.2f}"
        rows.append([*shown, check.quantity, *numbers, ratio, check.said])
    return "\n".join([aligned_table(rows, numbers=(3, 4, 5)), "", *(f"- {note}" for note in notes)])


def _begins_elsewhere(runs: Sequence[Run]) -> bool:
    """Whether another training went before the first of these."""
    return bool(runs[0].options.get("part_init"))


def _differences(run: Run, planned: Planned) -> list[str]:
    """Settings of the run that are others than the plan's, and phases that one of them lacks."""
    said = []
    for key in SETTINGS:
        there = run.options.get(key)
        if key in planned.options and planned.options[key] != there:
            said.append(f"{key}: planned {planned.options[key]}, trained with {there}")
    ran = Schedule.from_list(run.options["phases"], run.config).phases
    for phase in ran:
        mine = next((p for p in planned.schedule.phases if p.name == phase.name), None)
        if mine is None:
            said.append(f"phase {phase.name}: trained, and not planned")
            continue
        for field in dataclasses.fields(phase):
            here, there = (getattr(p, field.name) for p in (mine, phase))
            if here != there:
                said.append(
                    f"phase {phase.name}: {field.name}: planned {here}, trained with {there}"
                )
    for name in {phase.phase for phase in run.phases} - {phase.name for phase in ran}:
        said.append(
            f"phase {name}: in history.jsonl, and not in config.yaml, which is of the last start"
        )
    return said


def _steps(plan: PhasePlan, phase: PhaseRun | None) -> Row:
    done = 0 if phase is None else phase.steps
    said = "more than planned: trained with another schedule" if done > plan.steps else ""
    if done < plan.steps:
        said = "not validated so far" if phase is None else "under way, killed, or stopped early"
    return "steps", plan.steps, done, said


def _saved(values: int, saved: int | None) -> Row:
    said = "" if saved == values else "another model, or another selection of what trains"
    if saved is None:
        said = "the model of the phase's end is not there"
    return "parameters ever trained", values, saved, said


def _data(plan: PhasePlan, phase: PhaseRun, padding: float) -> Iterator[Row]:
    """What a step holds."""
    audio, heard = plan.hours * 3600 / plan.steps, phase.mean("audio_seconds")
    yield _count("examples a step", plan.examples, phase.mean("examples"))
    yield _count("answer tokens a step", plan.answer_tokens, phase.mean("tokens"))
    yield _count("audio a step (s)", audio, heard)
    yield "audio (h)", plan.hours, heard * phase.steps / 3600, ""
    padded = phase.mean("padding_share")
    is_off = _out((1 - padded) / (1 - padding), COUNTS, "less", "more")
    yield "padding (share)", padding, padded, f"plan with --padding {padded:.2f}" * bool(is_off)


def _count(what: str, planned: float, measured: float) -> Row:
    said = _out(
        measured / planned if planned else math.nan,
        COUNTS,
        "steps hold less than planned: more padding, other data than were counted, or examples left out",
        "steps hold more than planned: less padding, or other data than were counted",
    )
    return what, planned, measured, said


def _speeds(run: Run, stage: Planned, hardware: Hardware) -> dict[str, float]:
    """TFLOP/s that a process has reached in each phase."""
    flops = {plan.phase: plan.flops.total / hardware.gpus / 1e12 for plan in stage.phases}
    seconds = {phase.phase: phase.mean("train_time") for phase in run.phases}
    return {
        name: flops[name] / took for name, took in seconds.items() if took > 0 and name in flops
    }


def _speed(
    plan: PhasePlan, phase: PhaseRun, hardware: Hardware | None, reached: Mapping[str, float]
) -> Iterator[Row]:
    """How long a step takes, and how fast it is computed; ``hardware`` where its speed is assumed."""
    seconds, waited = phase.mean("train_time"), phase.mean("iter_time")
    waits = f"{waited / seconds:.0%} of a step waits for data" * (waited > WAITING * seconds)
    yield "a step (s)", plan.seconds / plan.steps if hardware else None, seconds, waits
    assumed = hardware.flops / hardware.gpus / 1e12 if hardware else None
    speed = reached.get(plan.phase, math.nan)
    usual = assumed or median(reached.values() or [math.nan])
    said = _out(speed / usual, SPEED, *(_THAN_ASSUMED if assumed else _THAN_OTHERS))
    yield "TFLOP/s of a process", assumed, speed, said


_THAN_ASSUMED = (
    "slower than assumed: small micro-batches, communication, or other work on the machine; --gpu_tflops",
    "faster than assumed; plan with --gpu_tflops",
)
_THAN_OTHERS = (
    "slower than the stage's other phases: other work on the machine, or arithmetic that is not counted",
    "faster than the stage's other phases: a quieter machine, or arithmetic that is counted and not done",
)


def _memory(peak: float, measured: float, before: float, reserve: float) -> Row:
    """The most that a GPU has held until the phase's end; ``before``, until its beginning, in GB."""
    planned, said = peak / GIB - reserve, ""
    if measured > peak / GIB:
        said = "more than planned, its reserve included: lower --max_bins_per_gpu"
    elif measured <= before:
        said = "no more than before this phase, whose own is not known"
    elif measured < MEMORY * planned:
        said = "the dearest micro-batch did not come: there may be room for a larger one"
    return "memory of a GPU (GB)", planned, measured, said


def _out(ratio: float, band: tuple[float, float], less: str, more: str) -> str:
    low, high = band
    return less if ratio < low else more if ratio > high else ""


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
