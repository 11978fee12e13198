"""Several systems on one test set, scored by one scorer and tested against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from espnet_part.compare.alignment import Alignment, IdRules, align
from espnet_part.compare.readers import SystemOutput
from espnet_part.compare.reference_set import ReferenceSet
from espnet_part.errors import ConfigError
from espnet_part.report.paired_tests import other_settings
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.score.counting import Measured, measure
from espnet_part.score.references import GroupKey, read_durations, read_references
from espnet_part.score.score_config import ScoreConfig
from espnet_part.score.scoring import summarize
from espnet_part.score.significance import PairedResult, compare_measured
from espnet_part.tasks import pair_label

"""Of `utt2num_samples` in our data directories."""


@dataclass(frozen=True)
class Entry:
    """One system on the test set.

    Attributes:
        alignment: its hypotheses by the references' ids.
        tasks: those for which it has any hypothesis; it is scored on these.
        lacking: utterances without a hypothesis by task and languages, of these tasks.
        score: as in score.json.
        measured: what the score was made of, and the tests are.
    """

    output: SystemOutput
    alignment: Alignment
    tasks: tuple[str, ...]
    lacking: dict[GroupKey, int]
    score: dict[str, Any]
    measured: dict[GroupKey, Measured] = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; the first entry is the baseline of the tests."""

    references: ReferenceSet
    config: ScoreConfig
    entries: list[Entry]
    tests: list[PairedResult] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def compare(
    outputs: Sequence[SystemOutput],
    references: ReferenceSet,
    config: ScoreConfig,
    rules: IdRules = IdRules(),  # noqa: B008 (it is frozen)
    paired: bool = True,
    nj: int = 1,
) -> Comparison:
    """Align, score and test.

    Args:
        outputs: the first is the baseline.
        rules: how ids may differ.
        paired: whether to test.
        nj: number of processes.

    Raises:
        ConfigError: two systems have one name.
        DataError: no id of a system fits, or fits twice.
    """
    names = [output.name for output in outputs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two systems are called {name}; name them by name=path")
    entries = [_score(output, references, config, rules, nj) for output in outputs]
    tests: list[PairedResult] = []
    notes: list[str] = list(references.notes)
    if paired and len(entries) > 1 and not config.bootstrap.samples:
        notes.append("No paired tests: the configuration draws no bootstrap samples.")
    elif paired:
        tests = _test(entries, config)
    return Comparison(references, config, entries, tests, tuple(notes))


def _score(
    output: SystemOutput, references: ReferenceSet, config: ScoreConfig, rules: IdRules, nj: int
) -> Entry:
    aligned = align(
        references.utterances, output.hypotheses, rules, references.speakers, output.name
    )
    left_out = [key for key in aligned.unexpected if key in references.others]
    unexpected = [key for key in aligned.unexpected if key not in references.others]
    found = {
        key: sum(utterance in aligned.texts for utterance in utterances)
        for key, utterances in references.groups.items()
    }
    tasks = tuple(dict.fromkeys(key[0] for key, count in found.items() if count))
    scored = {key: utterances for key, utterances in references.groups.items() if key[0] in tasks}
    notes = list(output.notes)
    for task in dict.fromkeys(key[0] for key in references.groups):
        if task not in tasks:
            notes.append(f"no hypothesis at all for {task}: not scored on it")
    for key in scored:
        if not found[key]:
            notes.append(
                f"NO HYPOTHESIS AT ALL for {group_label(key)}: each counts as empty (--langs "
                "would leave the language out for all)"
            )
    if left_out:
        notes.append(f"{len(left_out)} hypotheses left out by --tasks or --langs")
    lengths = references.directory / "utt2num_samples"
    durations = read_durations(lengths, SAMPLE_RATE) if lengths.is_file() else {}
    chosen = read_references(references.directory, tasks)
    measured = measure(chosen, aligned.texts, config, durations, nj)
    score = summarize(measured, aligned.texts, config, durations, references.directory).as_dict()
    notes += other_settings(output.path, config)
    return Entry(
        output,
        Alignment(aligned.texts, aligned.matched, score["missing"], unexpected),
        tasks,
        {key: len(utterances) - found[key] for key, utterances in scored.items()},
        score,
        measured,
        tuple(notes),
    )


def _test(entries: Sequence[Entry], config: ScoreConfig) -> list[PairedResult]:
    """Each system against the first, on the tasks that both have."""
    first, *others = entries
    results = []
    for entry in others:
        measured = {
            each.output.name: {
                key: group
                for key, group in each.measured.items()
                if key[0] in first.tasks and key[0] in entry.tasks
            }
            for each in (first, entry)
        }
        results += compare_measured(measured, first.output.name, config)
    return results


def group_label(key: GroupKey) -> str:
    """ "asr de" or "s2tt de-en"."""
    task, source, target = key
    return f"{task} {pair_label(source, target)}"
