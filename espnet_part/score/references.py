"""Reading a data directory's references and grouping them by task and language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.kaldi import read_counts, read_table
from espnet_part.tasks import TASKS

NAMES_SHOWN = 10
"""How many utterance ids a message lists; all of them are in the JSON file."""

GroupKey = tuple[str, str, str]
"""Task, language heard or read, language written."""


@dataclass(frozen=True)
class References:
    """What the hypotheses are compared with.

    Attributes:
        texts: the reference of each utterance.
        groups: utterance ids by task and languages, sorted, whatever the order of the files.
    """

    texts: dict[str, str]
    groups: dict[GroupKey, list[str]]


def read_references(ref_dir: str | Path, only_tasks: Collection[str] | None = None) -> References:
    """Read `text`, `utt2task`, `utt2lang` and `utt2tgt` (optional where a task writes what it reads).

    Raises:
        DataError: a file is missing, unreadable, has an id twice, or does not match `text`; or no
            utterance has one of ``only_tasks``.
    """
    ref_dir = Path(ref_dir)
    texts = read_table(ref_dir / "text")
    if not texts:
        raise DataError(f"{ref_dir / 'text'}: empty, nothing to score")
    tasks = _read_labels(ref_dir / "utt2task", texts)
    if only_tasks is not None:
        known = set(tasks.values())
        absent = [task for task in only_tasks if task not in known]
        if absent or not only_tasks:
            has = ", ".join(sorted(known))
            raise DataError(f"{ref_dir}: no utterance of {', '.join(absent)}; it has {has}")
        texts = {utt: text for utt, text in texts.items() if tasks[utt] in only_tasks}
    languages = _read_labels(ref_dir / "utt2lang", texts)
    for name in set(tasks.values()) - set(TASKS):
        raise DataError(f"{ref_dir / 'utt2task'}: unknown task {name}; known: {', '.join(TASKS)}")
    implied = {utt: TASKS[tasks[utt]].target(languages[utt]) for utt in texts}
    targets = _read_labels(
        ref_dir / "utt2tgt", texts, {utt: language for utt, language in implied.items() if language}
    )
    groups: dict[GroupKey, list[str]] = defaultdict(list)
    for utterance in sorted(texts):
        task, source, target = tasks[utterance], languages[utterance], targets[utterance]
        why_not = TASKS[task].why_not(source, target)
        if why_not:
            raise DataError(f"{ref_dir}: {utterance}: {why_not}")
        groups[task, source, target].append(utterance)
    return References(texts, dict(sorted(groups.items())))


def _read_labels(
    path: Path, references: dict[str, str], defaults: dict[str, str] | None = None
) -> dict[str, str]:
    labels = {**(defaults or {})}
    if path.exists() or not labels.keys() >= references.keys():
        labels |= read_table(path)
    lacking = sorted(utterance for utterance in references if not labels.get(utterance))
    if lacking:
        raise DataError(
            f"{path}: no value for {len(lacking)} utterances of `text`: {some_names(lacking)}"
        )
    return {utterance: labels[utterance] for utterance in references}


def some_names(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def read_durations(path: str | Path, rate: int) -> dict[str, float]:
    """Seconds of audio by utterance, from Kaldi's `utt2num_samples` at ``rate`` samples a second.

    Raises:
        DataError: the file cannot be read, or a value is no number.
    """
    return {utterance: count / rate for utterance, count in read_counts(path).items()}
