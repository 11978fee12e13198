"""The stage files of a run: a system's own, with its changes, at a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError
from espnet_part.evidence.plan import Plan, Run
from espnet_part.phases import Phase, change_phases, named

STAGES = (1, 2, 3)


def stage_files(plan: Plan, run: Run, conf: Path) -> dict[int, dict[str, Any]]:
    """What the stage files of a run hold, by their number, with all that they inherit.

    Args:
        conf: the recipe's conf directory, below which the systems are.

    Raises:
        ConfigError: a system without stage files, a change that does not fit, or a phase that has no
            number of steps or no learning rates, which then cannot be scaled.
    """
    system = plan.systems[run.system]
    directory = conf / (system.of or run.system)
    found = {n: load_yaml(path) for n in STAGES if (path := directory / f"stage{n}.yaml").is_file()}
    where = f"conf/evidence.yaml: systems: {run.system}"
    if not found:
        raise ConfigError(f"{where}: {directory} has no stage1.yaml")
    for n, changes in zip(STAGES, (system.stage1, system.stage2, system.stage3), strict=True):
        if not changes:
            continue
        if n not in found:
            raise ConfigError(f"{where}: stage{n}: {directory} has no stage{n}.yaml")
        phases = named(found[n].get("phases"), f"{directory}/stage{n}.yaml")
        found[n] = {**found[n], "phases": change_phases(phases, changes, where, _nothing_else)}
    return {n: _scaled(content, run, f"{directory}/stage{n}.yaml") for n, content in found.items()}


def _nothing_else(name: str) -> list[Phase]:
    raise ConfigError(f"conf/evidence.yaml: only stage files of conf/ take from others: {name}")


def _scaled(content: dict[str, Any], run: Run, where: str) -> dict[str, Any]:
    phases = []
    for phase in named(content.get("phases"), where):
        rates, steps = phase.get("lr"), phase.get("steps")
        if not isinstance(rates, dict) or not isinstance(steps, int):
            raise ConfigError(
                f"{where}: {phase['name']}: needs `lr` by group and `steps` to be scaled"
            )
        phases.append(
            {
                **phase,
                # without the last bits, which a product of decimal fractions has by accident
                "lr": {group: float(f"{rate * run.rate:.12g}") for group, rate in rates.items()},
                "steps": max(1, round(steps * run.setting.steps)),
            }
        )
    sizes = {
        key: max(1, round(content[key] * run.setting.batch))
        for key in ("batch_size", "batch_bins")
        if isinstance(content.get(key), int)
    }
    return {**content, **sizes, "phases": phases}


def count_steps(content: dict[str, Any]) -> int:
    """Optimizer steps of a stage."""
    return sum(phase["steps"] for phase in content["phases"])
