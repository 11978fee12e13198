"""A schedule and a model's parameters as text tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from espnet_part.document import aligned_table
from espnet_part.schedule.schedule import Phase, Schedule, Trainable

Shapes = Mapping[str, tuple[int, ...]]


def schedule_table(schedule: Schedule, shapes: Shapes | None, protected: Sequence[str] = ()) -> str:
    """One row a phase: length, trainable set, tasks, learning rates.

    Args:
        shapes: The model's parameters; without them the selectors are shown as written.

    Raises:
        ConfigError: from `Schedule.resolve` or `Schedule.check_groups`.
    """
    trainable: Sequence[Trainable | None] = [None] * len(schedule.phases)
    if shapes is None:
        schedule.check_groups()
    else:
        trainable = schedule.resolve(list(shapes), protected)
    rows = [["phase", "length", "trains", "parameters", "tasks", "peak learning rates"]]
    for phase, chosen in zip(schedule.phases, trainable, strict=True):
        rows.append(
            [
                phase.name,
                phase.length,
                ", ".join(phase.train),
                "" if chosen is None or shapes is None else _trained(chosen, shapes),
                _tasks(phase),
                ", ".join(f"{group} {rate:.1e}" for group, rate in phase.lr.items()),
            ]
        )
    if shapes is None:
        rows = [[*row[:3], *row[4:]] for row in rows]
    return aligned_table(rows)


def model_table(shapes: Shapes) -> str:
    """One row a part of the model: tensors and parameters; LoRA apart from the LLM's base."""
    parts: dict[str, list[int]] = {}
    for name, shape in shapes.items():
        part = "llm.lora" if ".lora_" in name else name.split(".")[0]
        parts.setdefault(part, []).append(math.prod(shape))
    rows = [["part", "tensors", "parameters"]]
    rows += [[part, str(len(sizes)), count(sum(sizes))] for part, sizes in parts.items()]
    total = sum(math.prod(shape) for shape in shapes.values())
    rows.append(["all", str(len(shapes)), count(total)])
    return aligned_table(rows)


def count(number: int) -> str:
    """A number of parameters for a person: 1.54 B, 12.6 M, 850."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return str(number)


def _trained(chosen: Trainable, shapes: Shapes) -> str:
    return ", ".join(
        f"{group} {count(sum(math.prod(shapes[n]) for n in names))} ({len(names)} tensors)"
        for group, names in chosen.groups.items()
    )


def _tasks(phase: Phase) -> str:
    if isinstance(phase.tasks, list):
        listed = ", ".join(phase.tasks) + (" (by size)" if len(phase.tasks) > 1 else "")
    else:
        total = math.fsum(phase.tasks.values())
        listed = ", ".join(f"{task} {100 * w / total:.0f} %" for task, w in phase.tasks.items())
    listed = "; ".join([listed, *phase.languages])
    return listed if phase.loss == "answer" else f"{listed}; the adapter's own loss alone"
