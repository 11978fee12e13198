"""What the runs that are there say: figures over seeds, what one system has over another, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from espnet_part.evidence.evaluation import (
    Figures,
    averages,
    dev_figures,
    groups_of,
    test_figures,
)
from espnet_part.evidence.plan import Claim, Measure, Question, Run, Setting
from espnet_part.evidence.record import Evidence
from espnet_part.score.references import GroupKey
from espnet_part.score.two_level import Estimate, estimate

MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True)
class Gain:
    """What ``first`` has over ``second`` in one setting; above 0 where it is better, in either measure.

    Attributes:
        found: in points of error rate or of BLEU; None where no seed has both.
    """

    setting: Setting
    first: str
    second: str
    measure: Measure
    found: Estimate | None


@dataclass(frozen=True)
class Finding:
    """All about one question.

    Attributes:
        standings: {(setting, system): {measure: figure}} of the test set.
        compared: the languages and directions that are averaged, by measure: those that all settings
            have, so that averages are over the same.
    """

    name: str
    question: Question
    settings: Sequence[Setting]
    compared: Mapping[Measure, Sequence[GroupKey]]
    standings: Mapping[tuple[Setting, str], Mapping[Measure, Estimate]]
    gains: Sequence[Gain]
    curves: Mapping[str, Sequence[CurvePoint]] = field(default_factory=dict)


@dataclass(frozen=True)
class CurvePoint:
    """Dev at the end of a phase: the mean, the lowest and the highest of the seeds, by measure."""

    stage: int
    phase: str
    step: int
    seeds: int
    values: Mapping[Measure, tuple[float, float, float]]


def find_out(evidence: Evidence) -> list[Finding]:
    """Answer each question as far as its runs are there; one without any pair of them is left out."""
    chosen = {s: rate for s in evidence.systems if (rate := evidence.chosen(s)) is not None}
    found = [
        _find(evidence, name, question, chosen) for name, question in evidence.questions.items()
    ]
    return [f for f in found if any(gain.found for gain in f.gains) or f.curves]


def _find(
    evidence: Evidence, name: str, question: Question, chosen: Mapping[str, float]
) -> Finding:
    settings = evidence.plan.settings_of(question)
    tested: dict[tuple[Setting, str], dict[int, Figures]] = {}
    for setting in settings:
        for system in question.systems:
            if system not in chosen:
                continue
            for seed in evidence.plan.seeds_of(question):
                run = Run(system, setting, chosen[system], seed)
                # what an older configuration has left is not this run's
                figures = evidence.is_tested(run) and test_figures(evidence.space(run), run)
                if figures:
                    tested.setdefault((setting, system), {})[seed] = figures
    everything = [figures for seeds in tested.values() for figures in seeds.values()]
    compared = {measure: groups_of(measure, everything) for measure in MEASURES}
    compared = {measure: keys for measure, keys in compared.items() if keys}

    def rows(key: tuple[Setting, str], seeds: Sequence[int], measure: Measure) -> np.ndarray:
        return averages(measure, [tested[key][seed] for seed in seeds], compared[measure])

    standings = {
        key: {measure: estimate(rows(key, list(seeds), measure)) for measure in compared}
        for key, seeds in tested.items()
    }
    gains = []
    for setting in settings:
        for first, second in question.pairs:
            one, two = tested.get((setting, first), {}), tested.get((setting, second), {})
            seeds = [seed for seed in one if seed in two]
            for measure in compared:
                gain = None
                if seeds:
                    mine = rows((setting, first), seeds, measure)
                    theirs = rows((setting, second), seeds, measure)
                    # fewer errors are better, and more BLEU
                    gain = estimate(theirs, mine) if measure == "wer" else estimate(mine, theirs)
                gains.append(Gain(setting, first, second, measure, gain))
    curves = _curves(evidence, question, chosen) if question.curves else {}
    return Finding(name, question, settings, compared, standings, gains, curves)


def _curves(
    evidence: Evidence, question: Question, chosen: Mapping[str, float]
) -> dict[str, list[CurvePoint]]:
    found: dict[str, list[CurvePoint]] = {}
    for system in question.systems:
        ends: dict[tuple[int, str, int], list[Figures]] = {}
        for seed in evidence.plan.seeds_of(question) if system in chosen else []:
            run = Run(system, evidence.plan.setting, chosen[system], seed)
            space = evidence.space(run)
            for point in evidence.ends(run):
                figures = evidence.is_decoded(run, point) and dev_figures(space, point)
                if figures:
                    ends.setdefault((point.stage, point.phase, point.step), []).append(figures)
        for (stage, phase, step), all_figures in ends.items():
            values: dict[Measure, tuple[float, float, float]] = {}
            for measure in MEASURES:
                keys = groups_of(measure, all_figures)
                if keys:
                    of_seeds = averages(measure, all_figures, keys)[:, 0]
                    values[measure] = (
                        float(of_seeds.mean()),
                        float(of_seeds.min()),
                        float(of_seeds.max()),
                    )
            point_found = CurvePoint(stage, phase, step, len(all_figures), values)
            found.setdefault(system, []).append(point_found)
    return found


def verdict(gain: Estimate | None) -> str:
    """What the interval says of a claim that the first is better; a function of figures alone."""
    if gain is None or not gain.is_finite:
        return "not measured"
    word = "not seen"
    if gain.low > 0:
        word = "seen"
    elif gain.high < 0:
        word = "the other way round"
    return word if gain.seeds > 1 else f"{word} (one seed: nothing is known of others)"


def gain_of(
    claim: Claim, measure: Measure, findings: Sequence[Finding], usual: Setting
) -> Estimate | None:
    """What the ``usual`` setting says of a claim: the first question that compares the two and has runs."""
    for finding in findings:
        for gain in finding.gains:
            if gain.setting != usual or gain.measure != measure or not gain.found:
                continue
            if (gain.first, gain.second) == (claim.better, claim.worse):
                return gain.found
            if (gain.first, gain.second) == (claim.worse, claim.better):
                return mirrored(gain.found)
    return None


def mirrored(found: Estimate) -> Estimate:
    """The same difference seen from the other side."""
    return Estimate(
        -found.value, -found.high, -found.low, found.p_value, found.seeds, found.deviation
    )
