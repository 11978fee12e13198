"""Paired tests of a recipe's systems, from the hypotheses that their score.json files were made of.

The first system of the report is the baseline of all tests.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_part.errors import DataError, UserError
from espnet_part.kaldi import read_table
from espnet_part.parsing import read_json
from espnet_part.report.systems import System, locate
from espnet_part.score.counting import units_of
from espnet_part.score.decoded import collect_hypotheses
from espnet_part.score.references import read_references
from espnet_part.score.score_config import BootstrapConfig, ScoreConfig
from espnet_part.score.significance import PairedResult, compare_systems
from espnet_part.scripts import base_language

_ROUNDING = 1e-6


def compare_scored(
    systems: Sequence[System],
) -> tuple[dict[str, list[PairedResult]], list[str]]:
    """Test every system against the first, on each test set that both have.

    Returns:
        Results by test set, and why tests are lacking.
    """
    results: dict[str, list[PairedResult]] = {}
    lacking: dict[tuple[str, str], list[str]] = {}
    if len(systems) < 2:
        return results, []
    first, *others = systems
    for name in first.sets:
        together: dict[_Setting, list[System]] = {}
        for system in others:
            if name in system.sets:
                try:
                    together.setdefault(_common_setting(first, system, name), []).append(system)
                except (UserError, OSError) as error:
                    lacking.setdefault((name, str(error)), []).append(system.name)
        for setting, rivals in together.items():
            try:
                found = _compare([first, *rivals], setting, name)
            except (UserError, OSError) as error:
                lacking.setdefault((name, str(error)), []).extend(s.name for s in rivals)
                continue
            results.setdefault(name, []).extend(found)
    notes = [
        f"no paired test of {', '.join(names)} on {name}: {reason}"
        for (name, reason), names in lacking.items()
    ]
    return results, notes


@dataclass(frozen=True)
class _Setting:
    """What two systems must share to be compared."""

    ref_dir: Path
    tasks: tuple[str, ...]
    config: ScoreConfig


def _common_setting(first: System, second: System, name: str) -> _Setting:
    scores = first.sets[name], second.sets[name]
    one, two = (rebuild_config(score) for score in scores)
    if _without_units(one) != _without_units(two) or _units_differ(*scores):
        raise DataError(f"scored with other settings than {first.name}")
    ref_dirs = [
        locate(Path(system.sets[name]["ref_dir"]), system.paths[name]) for system in (first, second)
    ]
    ref_dir = _shared_references(*ref_dirs)
    if ref_dir is None:
        raise DataError(f"scored against other references than {first.name}")
    tasks = tuple(task for task in scores[0]["tasks"] if task in scores[1]["tasks"])
    if not tasks:
        raise DataError(f"no task that {first.name} has, too")
    # either may lack languages of the other, hence know nothing of their unit
    config = replace(
        one,
        cer_languages=tuple(sorted({*one.cer_languages, *two.cer_languages})),
        wer_languages=tuple(sorted({*one.wer_languages, *two.wer_languages})),
    )
    return _Setting(ref_dir, tasks, config)


def _without_units(config: ScoreConfig) -> ScoreConfig:
    return replace(config, cer_languages=(), wer_languages=())


def _compare(systems: Sequence[System], setting: _Setting, name: str) -> list[PairedResult]:
    hypotheses = {system.name: read_hypotheses(system, name) for system in systems}
    results = compare_systems(
        setting.ref_dir, hypotheses, systems[0].name, setting.config, setting.tasks
    )
    scores = {system.name: system.sets[name] for system in systems}
    for result in results:
        told = [_told(scores[system], result) for system in (result.system, result.baseline)]
        if None not in told and abs(told[0] - told[1] - result.difference) > _ROUNDING:
            raise DataError(
                "hypotheses or references have changed since they were scored; run part_score again"
            )
    return results


def _told(score: Mapping[str, Any], result: PairedResult) -> Any:
    """A language's or direction's figure in a score.json; None where it has none."""
    measure = "wer" if result.metric == "cer" else result.metric
    return score["tasks"][result.task].get(measure, {}).get(result.key)


def _units_differ(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    units: dict[tuple[str, str], str] = {}
    for group in (*one["errors"], *two["errors"]):
        key = (group["task"], group["language"])
        if not group["secondary"] and units.setdefault(key, group["metric"]) != group["metric"]:
            return True
    return False


def rebuild_config(score: Mapping[str, Any]) -> ScoreConfig:
    """The settings that a score.json was made with, as far as figures depend on them.

    Raises:
        UserError: made before score.json told them.
    """
    if "normalizer" not in score or "bootstrap" not in score:
        raise UserError("its score.json is of an earlier release; run part_score again")
    return ScoreConfig(
        normalizer=score["normalizer"],
        chinese_script=score.get("chinese_script", "keep"),
        bootstrap=BootstrapConfig(**score["bootstrap"]),
        cer_languages=_counted_by(score, "cer"),
        wer_languages=_counted_by(score, "wer"),
    )


def _counted_by(score: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    return tuple(
        base_language(group["language"].rpartition("-")[2])  # the language written
        for group in score["errors"]
        if group["metric"] == metric and not group["secondary"]
    )


def other_settings(directory: Path, config: ScoreConfig) -> list[str]:
    """A note where `part_score` has scored a directory by other rules than ``config``."""
    try:
        score = read_json(directory / "score.json")
        own = rebuild_config(score)
        counted = {
            group["language"]: group["metric"]
            for group in score["errors"]
            if not group["secondary"]
        }
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return []  # not scored, or by an earlier release
    differing = [
        f"{key} {getattr(own, key)}"
        for key in ("normalizer", "chinese_script")
        if getattr(own, key) != getattr(config, key)
    ]
    differing += [
        f"{metric} for {language}"
        for language, metric in counted.items()
        if (metric == "cer") != (units_of(language, config)[0] == "character")
    ]
    if not differing:
        return []
    return [
        f"figures differ from those of its score.json, which was made with {', '.join(differing)}; "
        "--score_config would score all systems so"
    ]


def _shared_references(one: Path, two: Path) -> Path | None:
    """The directory of what both were scored against; None where they differ in that.

    One may lack languages or directions of the other (Whisper translates into English alone); what it
    has must be whole and the same.
    """
    if one.resolve() == two.resolve():
        return one
    first, second = read_references(one), read_references(two)
    (fewer, directory), (more, _) = sorted(
        ((first, one), (second, two)), key=lambda pair: len(pair[0].groups)
    )
    whole = all(more.groups.get(key) == utts for key, utts in fewer.groups.items())
    same = whole and all(more.texts[utt] == text for utt, text in fewer.texts.items())
    return directory if same else None


def read_hypotheses(system: System, name: str) -> dict[str, str]:
    """What was scored on a test set: the decoding directory, or the file that the score.json names.

    Raises:
        UserError: nothing is there, or it cannot be read.
    """
    directory, score = system.paths[name], system.sets[name]
    try:
        return collect_hypotheses(directory)
    except UserError:
        source = locate(Path(score["hypotheses"]), directory)
        return read_table(source) if source.is_file() else collect_hypotheses(source)


def as_records(results: Collection[PairedResult]) -> list[dict[str, Any]]:
    """For JSON, where an undefined number is null."""
    return [
        {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in result.as_dict().items()
        }
        for result in results
    ]
