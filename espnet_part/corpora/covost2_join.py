"""The inner join of CoVoST 2's tables with Common Voice's ``validated.tsv``, in constant memory."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from espnet_part.corpora.clips import NameSet, clip_stem
from espnet_part.corpora.commonvoice_release import Locale
from espnet_part.corpora.covost2_tables import SPLITS, Direction, read_table
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.tsv import read_tsv
from espnet_part.progress import counted
from espnet_part.sorting import LineSorter, first_field

# Records of the sort. Control characters stand for what would break a line, and become spaces when
# the text is cleaned.
_TO_RECORD = str.maketrans({"\t": "\x1f", "\n": "\x1e"})
_VALIDATED = "validated"


@dataclass(frozen=True)
class Clip:
    """What Common Voice and the tables know of one clip.

    Attributes:
        path: the clip's name without its ending.
        sentence, client: of ``validated.tsv``; None and "" where that has no such clip.
        translations: (direction, split of the data directories, translation).
    """

    path: str
    sentence: str | None
    client: str
    translations: tuple[tuple[Direction, str, str], ...]


def join(
    locale: Locale,
    tables: Mapping[Direction, Path],
    work_dir: Path,
    ledger: Ledger,
    translation_tasks: Collection[str],
) -> Iterator[Clip]:
    """Yield every clip of the tables, sorted by name, with its sentence if there is one.

    Args:
        locale: the language that the tables translate from.
        work_dir: for temporary files, removed at the end.
        ledger: is told about lines that cannot be read; one of a table, whose split is not known
            then, is put down to training.
        translation_tasks: the tasks that lose such a line.
    """
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    sorter = LineSorter(work_dir / "run")
    try:
        wanted = NameSet(_add_tables(sorter, tables, ledger, translation_tasks))
        _add_validated(sorter, locale, wanted, ledger)
        by_direction = {str(direction): direction for direction in tables}
        for path, lines in groupby(sorter.merged(), first_field):
            sentence, client = None, ""
            translations = []
            for line in lines:
                _, kind, *values = line.decode("utf-8").removesuffix("\n").split("\t")
                if kind != _VALIDATED:
                    translations.append((by_direction[kind], values[0], values[1]))
                elif sentence is None:
                    sentence, client = values
            yield Clip(path.decode(), sentence, client, tuple(translations))
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)


def _add_tables(
    sorter: LineSorter,
    tables: Mapping[Direction, Path],
    ledger: Ledger,
    tasks: Collection[str],
) -> Iterator[str]:
    """Add all rows of the tables to the sort; yield their clips."""
    task = ",".join(tasks)
    for direction, table in tables.items():

        def unusable(
            number: int,
            reason: str,
            detail: str,
            direction: Direction = direction,
            table: Path = table,
        ) -> None:
            for one in tasks:
                ledger.read("train", str(direction), one)
            if tasks:
                item = f"{table.name}:{number}"
                ledger.drop("train", str(direction), item, reason, detail, task)

        rows = counted(read_table(table, unusable), table.name)
        for number, (path, translation, split) in enumerate(rows, 2):
            name = clip_stem(path)
            if split not in SPLITS or not name:
                unusable(number, "unknown split" if name else "no clip named", split)
                continue
            fields = (name, str(direction), SPLITS[split], translation)
            sorter.add(_record(fields))
            yield name


def _add_validated(sorter: LineSorter, locale: Locale, wanted: NameSet, ledger: Ledger) -> None:
    """Add the rows whose clip a table has."""
    bad: list[int] = []
    table = locale.directory / "validated.tsv"
    rows = read_tsv(
        table,
        None,
        ("path", "sentence"),
        lambda number, reason, detail: bad.append(number),
        optional=("client_id",),
    )
    for path, sentence, client in counted(rows, f"{locale.name} validated"):
        name = clip_stem(path)
        if name in wanted:
            sorter.add(_record((name, _VALIDATED, sentence, client)))
    if bad:
        ledger.note(
            f"{table}: {len(bad)} lines cannot be read, the first is line {bad[0]};"
            ' their clips are among those "not in validated.tsv"'
        )


def _record(fields: tuple[str, ...]) -> bytes:
    return "\t".join([field.translate(_TO_RECORD) for field in fields]).encode() + b"\n"
