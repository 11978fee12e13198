"""Several data directories as one, by merging their sorted tables: constant memory, any size.

As a command: ``python -m espnet_part.corpora.combine --out data/train data/corpora/*/train``.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from espnet_part.command import command
from espnet_part.data.datadir import TABLES
from espnet_part.errors import DataError
from espnet_part.files import atomic_write, sync_directory
from espnet_part.inputs import read_text
from espnet_part.kaldi import format_line, iter_table
from espnet_part.score.origin import read_corpus_file

#: By utterance, ``utt2task`` first: an id that two directories hold is found there.
_TABLES = tuple(name for name in TABLES if name != "wav.scp")
_SHOWN = 3  # ids that an error names

Entry = tuple[bytes, bytes, int]  # id, whole line, number of the directory


@dataclass
class Combined:
    """What went into a combined directory.

    Attributes:
        given: examples of each source. kept: those of them that were taken.
    """

    given: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


def combine(
    sources: Sequence[str | Path], out: str | Path, max_examples: int | None = None
) -> Combined:
    """Write the directory ``out``, whole or not at all, from the directories ``sources``.

    ``corpus.json``, ``corpus.md`` and ``dropped.tsv`` of the sources are joined as well.

    Args:
        sources: directories whose tables are sorted by id, as `DirectoryWriter` writes them.
        max_examples: of each source, task, language and target language; they are drawn by a hash
            of the id, so the same ones every time. None for all.

    Raises:
        DataError: a source is missing or not sorted, an id or a recording is in two of them, or
            ``out`` holds something else.
    """
    paths = [Path(source) for source in sources]
    out = Path(out)
    for path in paths:
        if not (path / "utt2task").is_file():
            raise DataError(f"{path}: is no data directory (it has no utt2task)")
        if path.resolve() == out.resolve():
            raise DataError(f"{out}: is one of the directories to be combined")
    if out.exists() and not (out / "utt2task").exists() and (out.is_file() or any(out.iterdir())):
        raise DataError(f"{out}: holds something that is no data directory")
    chosen = None if max_examples is None else _choose(paths, max_examples)
    aside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)  # a killed run's
    aside.mkdir(parents=True)
    try:
        recordings: set[bytes] | None = None if chosen is None else set()
        combined = Combined([0] * len(paths), [0] * len(paths))
        for name in _TABLES:
            _merge_table(name, paths, aside, chosen, recordings, combined)
        _merge_audio(paths, aside, chosen, recordings)
        _join_accounts(paths, aside, combined, max_examples)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    aside.replace(out)
    sync_directory(out.parent)
    shutil.rmtree(old, ignore_errors=True)
    return combined


def _merge_table(
    name: str,
    paths: Sequence[Path],
    aside: Path,
    chosen: set[bytes] | None,
    recordings: set[bytes] | None,
    combined: Combined,
) -> None:
    """Merge one table; of ``segments`` note the recordings, of ``utt2task`` the counts."""
    twice = []
    previous: Entry = (b"", b"", -1)
    with ExitStack() as stack:
        file = None
        for entry in _merged(name, paths):
            utt, line, number = entry
            if utt == previous[0]:
                twice.append((utt, previous[2], number))
            previous = entry
            if name == "utt2task":
                combined.given[number] += 1
                combined.kept[number] += chosen is None or utt in chosen
            if chosen is not None and utt not in chosen:
                continue
            if recordings is not None and name == "segments":
                recordings.update(line.split(b" ", 2)[1:2])
            if file is None:
                file = stack.enter_context((aside / name).open("wb", buffering=1 << 18))
            file.write(line)
        if twice:
            shown = ", ".join(
                f"{utt.decode(errors='replace')} ({paths[one]} and {paths[other]})"
                for utt, one, other in twice[:_SHOWN]
            )
            rest = len(twice) - _SHOWN
            more = f" and {rest} more" if rest > 0 else ""
            raise DataError(f"{name}: {len(twice)} ids are in two directories: {shown}{more}")
        if file is not None:
            file.flush()
            os.fsync(file.fileno())
        elif name in ("utt2task", "utt2lang", "utt2tgt"):
            (aside / name).touch()


def _merge_audio(
    paths: Sequence[Path],
    aside: Path,
    chosen: set[bytes] | None,
    recordings: set[bytes] | None,
) -> None:
    """Merge ``wav.scp``: a recording may be in two directories when it is the same file."""
    previous: Entry = (b"", b"", -1)
    with atomic_write(aside / "wav.scp", "wb") as file:
        for entry in _merged("wav.scp", paths):
            name, line, number = entry
            if name == previous[0]:
                if line != previous[1]:
                    raise DataError(
                        f"wav.scp: {name.decode(errors='replace')} is one file in "
                        f"{paths[previous[2]]} and another in {paths[number]}"
                    )
                continue
            previous = entry
            if chosen is None or name in chosen or name in (recordings or ()):
                file.write(line)
    if not (aside / "wav.scp").stat().st_size:
        (aside / "wav.scp").unlink()


def _merged(name: str, paths: Sequence[Path]) -> Iterator[Entry]:
    tables = [_entries(path / name, n) for n, path in enumerate(paths) if (path / name).exists()]
    return heapq.merge(*tables, key=lambda entry: entry[0])


def _entries(path: Path, number: int) -> Iterator[Entry]:
    """The lines of a sorted table."""
    previous = b""
    for count, name, value in iter_table(path):
        utt = name.encode()
        if utt <= previous:
            raise DataError(
                f"{path}:{count}: {name} comes after {previous.decode()}: the table must be sorted by "
                "id, each id once (LC_ALL=C sort)"
            )
        previous = utt
        yield utt, format_line(path, name, value).encode(), number


def _choose(paths: Sequence[Path], most: int) -> set[bytes]:
    """Ids of at most ``most`` examples of each source, task and pair of languages."""
    heaps: dict[tuple[int, bytes, bytes, bytes], list[tuple[int, bytes]]] = {}
    for number, path in enumerate(paths):
        columns = (_entries(path / name, number) for name in ("utt2task", "utt2lang", "utt2tgt"))
        for rows in itertools.zip_longest(*columns):
            if None in rows or len({row[0] for row in rows}) > 1:
                raise DataError(f"{path}: utt2task, utt2lang and utt2tgt have different ids")
            utt = rows[0][0]
            values = [row[1].partition(b" ")[2].strip() for row in rows]
            heap = heaps.setdefault((number, values[0], values[1], values[2]), [])
            # the smallest hashes stay: the root of the heap is the largest of them
            digest = int.from_bytes(hashlib.blake2b(utt, digest_size=8).digest(), "big")
            if len(heap) < most:
                heapq.heappush(heap, (-digest, utt))
            else:
                heapq.heappushpop(heap, (-digest, utt))
    return {utt for heap in heaps.values() for _, utt in heap}


def _join_accounts(
    paths: Sequence[Path], aside: Path, combined: Combined, max_examples: int | None
) -> None:
    """Put what the sources say of themselves side by side."""
    entries: list[dict[str, object]] = []
    pages: list[str] = []
    for number, path in enumerate(paths):
        given, kept = combined.given[number], combined.kept[number]
        drawn = ""
        if max_examples is not None:
            drawn = (
                f"{kept} of {given} examples of {path} are taken: at most {max_examples} of each "
                "task, language and target language"
            )
        if (path / "corpus.json").exists():
            for entry in read_corpus_file(path / "corpus.json"):
                notes = [*entry.get("notes", []), *([drawn] if drawn else [])]
                entries.append({**entry, "notes": notes})
        if (path / "corpus.md").exists():
            page = read_text(path / "corpus.md").rstrip()
            pages.append(f"{page}\n\n- {drawn}\n" if drawn else f"{page}\n")
    if entries:
        content = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
        (aside / "corpus.json").write_text(content, encoding="utf-8")
    if pages:
        (aside / "corpus.md").write_text("\n".join(pages), encoding="utf-8")
    with (aside / "dropped.tsv").open("wb") as out:
        for path in (path for path in paths if (path / "dropped.tsv").exists()):
            with (path / "dropped.tsv").open("rb") as file:
                header = file.readline()
                if not out.tell():
                    out.write(header)
                shutil.copyfileobj(file, out)
    if not (aside / "dropped.tsv").stat().st_size:
        (aside / "dropped.tsv").unlink()


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.combine",
        description="Combine data directories into one. Their tables must be sorted by id, as those "
        "of the corpora's data preparation are; an id that two of them hold is an error.",
        epilog="example: python -m espnet_part.corpora.combine --out data/dev --max_examples 200 "
        "data/corpora/fleurs/dev data/corpora/covost2/dev",
    )
    parser.add_argument("sources", nargs="+", metavar="DIR", help="data directories")
    parser.add_argument("--out", required=True, metavar="DIR", help="the directory to be written")
    parser.add_argument(
        "--max_examples",
        type=int,
        default=None,
        metavar="N",
        help="take at most N examples of each directory, task, language and target language "
        "(default: all)",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    parser = get_parser()
    args = parser.parse_args(cmd)
    if args.max_examples is not None and args.max_examples < 1:
        parser.error(f"--max_examples must be at least 1: {args.max_examples}")
    combined = combine(args.sources, args.out, args.max_examples)
    for source, given, kept in zip(args.sources, combined.given, combined.kept, strict=True):
        print(f"{args.out}: {kept} of {given} examples of {source}")
    print(f"{args.out}: {sum(combined.kept)} examples")


if __name__ == "__main__":
    main()
