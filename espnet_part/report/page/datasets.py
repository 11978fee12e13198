"""What systems were trained and tested on: hours and utterances by language, and what was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_part import display
from espnet_part.document import Bullets, Heading, Paragraph, Table
from espnet_part.errors import ConfigError, DataError, UserError
from espnet_part.kaldi import iter_table, parse_count
from espnet_part.parsing import read_yaml
from espnet_part.report.page.parts import Part
from espnet_part.report.results import Results
from espnet_part.report.systems import locate
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.score.origin import describe_corpus, read_corpus
from espnet_part.tasks import TASKS, by_rank, pair_label

Directories = Mapping[str, Sequence[Path]]
"""By data set: its directories, from the first preparation to what is used."""

MOST_REASONS = 20
"""Of a file."""
_LEDGER_HEADER = "split\t"
"""The beginning of a dropped.tsv of a corpus' preparation, whose counts are in corpus.json too."""


def find_data(results: Results) -> dict[str, list[Path]]:
    """The data directories that trainings and scores name."""
    found: dict[str, list[Path]] = {}
    for paths in results.trainings.values():
        for directory in paths:
            for path in _named(directory / "config.yaml"):
                place = locate(path, directory)
                if place not in found.setdefault(path.name, []):
                    found[path.name].append(place)
    for system in results.systems:
        for name, score in system.sets.items():
            if score.get("ref_dir") and not found.get(name):
                found[name] = [locate(Path(score["ref_dir"]), system.paths[name])]
    return found


def _named(config: Path) -> Iterator[Path]:
    """The training and validation data of a config.yaml; an unreadable one names none."""
    try:
        content = read_yaml(config)
        for key in ("train_data_dir", "valid_data_dir"):
            named = content.get(key) or []
            yield from map(Path, [named] if isinstance(named, str) else named)
    except (ConfigError, AttributeError, TypeError):
        return


def data_parts(data: Directories) -> list[Part]:
    """Tables of sizes and of losses; what cannot be read is named."""
    sizes, dropped, corpora, lacking = [], [], [], []
    for name, directories in data.items():
        try:
            sizes += size_rows(name, directories[-1])
            for directory in directories:
                corpora += [[name, *row] for row in corpus_rows(read_corpus(directory))]
                dropped += [[name, *row] for row in dropped_rows(directory)]
        except (UserError, OSError) as error:
            lacking.append(f"{name}: {error}")
    parts: list[Part] = []
    if sizes:
        header = ["data set", "task", "language", "utterances", "hours of speech"]
        parts += [Heading(3, "Sizes"), Table(header, sizes)]
    if corpora:
        header = ["data set", "corpus (release) split", "language", "task", "official", "read"]
        parts += [Heading(3, "From corpora"), Table([*header, "kept", "dropped"], corpora)]
    if sizes:
        parts.append(Heading(3, "Dropped after that"))
        parts.append(
            Table(["data set", "file", "reason", "utterances"], dropped)
            if dropped
            else Paragraph("Nothing.")
        )
    if lacking:
        parts.append(Bullets([display.sentence(line) for line in lacking]))
    return parts or [Paragraph("No data directory is known; `part_report --data` names them.")]


def size_rows(name: str, directory: Path) -> list[list[str]]:
    """A row a task and language of a data directory, and one for all where there are several.

    Raises:
        DataError: a table is missing, cannot be read, or is in another order than the others.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    samples: Counter[tuple[str, str, str]] = Counter()
    tables = [_Cursor(directory / name) for name in ("utt2lang", "utt2tgt", "utt2num_samples")]
    if not (directory / "utt2task").is_file():
        raise DataError(f"{directory / 'utt2task'}: no such file")
    for utterance, task in _in_order(directory / "utt2task"):
        language, target, length = (table.value(utterance) for table in tables)
        if not target and task in TASKS:
            target = TASKS[task].target(language)
        key = (task, language, target)
        counts[key] += 1
        samples[key] += parse_count(length) or 0
    for table in tables:
        table.finish()
    rows = []
    for task, language, target in sorted(counts, key=lambda key: (by_rank(key[0]), key)):
        key = (task, language, target)
        number = samples[key]
        rows.append(
            [name, task, pair_label(language, target), f"{counts[key]}", _hours(number, task)]
        )
    if len(rows) > 1:
        rows.append([name, "all", "", str(counts.total()), _hours(samples.total(), "")])
    return rows


class _Cursor:
    """Values of a sorted table at ids that come in order, without holding the table in memory."""

    def __init__(self, path: Path) -> None:
        self.lines = _in_order(path)
        self.utterance, self.found = "", ""

    def value(self, utterance: str) -> str:
        """The value, or "" where there is none."""
        while self.utterance < utterance:
            line = next(self.lines, None)
            if line is None:
                return ""
            self.utterance, self.found = line
        return self.found if self.utterance == utterance else ""

    def finish(self) -> None:
        """See that the rest is in order, too: what came too late was not found."""
        for _ in self.lines:
            pass


def _in_order(path: Path) -> Iterator[tuple[str, str]]:
    """(id, value) of a table, if there is one; one whose ids are not sorted is refused."""
    last = ""
    for _, utterance, value in iter_table(path) if path.is_file() else ():
        if utterance < last:
            raise DataError(
                f"{path}: sizes are counted of tables that are sorted by id; {utterance} is not"
            )
        last = utterance
        yield utterance, value


def _hours(samples: int, task: str) -> str:
    if task in TASKS and not TASKS[task].speech:
        return "-"
    hours = samples / SAMPLE_RATE / 3600
    return f"{hours:.2f}" if hours < 10 else f"{hours:.0f}"


def corpus_rows(corpora: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What the preparation of corpora says of itself: official counts, what was read, kept, dropped."""
    rows = []
    for corpus in corpora:
        for language, tasks in corpus.get("languages", {}).items():
            for task, counts in tasks.items():
                rows.append(
                    [
                        describe_corpus([dict(corpus)]),
                        language,
                        task,
                        *("-" if counts.get(key) is None else str(counts[key]) for key in _COUNTS),
                        ", ".join(f"{why} {n}" for why, n in counts.get("dropped", {}).items())
                        or "0",
                    ]
                )
    return rows


_COUNTS = ("official", "read", "kept")


def dropped_rows(directory: Path) -> list[list[str]]:
    """A row a reason in the files that formatting and filtering leave in a data directory.

    Raises:
        OSError: one cannot be read.
    """
    rows = []
    for name in ("bad_audio.tsv", "dropped.tsv"):
        path = directory / name
        if not path.is_file():
            continue
        reasons: Counter[str] = Counter()
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file):
                if number == 0 and line.startswith(_LEDGER_HEADER):
                    break
                fields = line.rstrip("\n").split("\t")
                reasons[fields[1] if len(fields) > 1 else "?"] += 1
        rows += [
            [str(path), reason, str(count)] for reason, count in reasons.most_common(MOST_REASONS)
        ]
    return rows
