"""An index of data directories: examples are rows of memory-mapped Arrow files, read when they are needed.

Millions of examples as objects would fill the memory of each process that trains or loads. Here the
files are shared by all processes of a node, as pages of the system's cache, and a process holds what it is
reading. ``part_collect_stats`` writes an index; a data directory stays what people write and read.

A directory of three files: ``rows.arrow``, the examples; ``numbers.arrow``, the columns that planning
needs; ``index.json``, what else there is to say, written last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from espnet_part.data.datadir import TABLES, Example
from espnet_part.data.examples import BLOCK, Examples, Stratum, as_bytes, samples_of
from espnet_part.data.shards import number_shards
from espnet_part.data.tables import stamp
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import sync_directory, sync_file
from espnet_part.model.base import file_sha256
from espnet_part.parsing import read_json_object

_VERSION = 1
_ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("utt_id", "task", "lang", "tgt", "text", "src_text")),
        *(("audio", pa.string()), ("start", pa.float64()), ("end", pa.float64())),
        *(("num_samples", pa.int64()), ("spk", pa.string()), ("feats", pa.string())),
    ]
)
# Numbers of each example, in memory until all are there.
_COLUMNS = {
    **dict.fromkeys(("samples", "prompt", "answer", "stratum"), np.int32),
    "has_feats": np.uint8,
}
_LARGEST_JSON = 1 << 24
_BROKEN = (
    ConfigError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    pa.ArrowException,
)


class ExampleTable(Examples):
    """The examples of an index.

    Args:
        directory: the index.

    Attributes:
        bad: how many utterances of the data directories are not in it, being faulty.
        sources: {name of a table: what it was}, for each data directory.

    Raises:
        DataError: it is missing, unfinished or damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        where = self.directory / "index.json"
        try:
            about = read_json_object(where, _LARGEST_JSON)
            if about["version"] != _VERSION:
                raise DataError(f"{where}: was written by another version of this package")
            for name, size in about["sizes"].items():
                if (self.directory / name).stat().st_size != size:
                    raise DataError(f"{self.directory / name}: is damaged")
            self._rows = _open(self.directory / "rows.arrow").read_all()
            numbers = _open(self.directory / "numbers.arrow").read_all()
            columns = {name: numbers.column(name).chunk(0) for name in numbers.column_names}
            view = {name: column.to_numpy(zero_copy_only=True) for name, column in columns.items()}
            self.samples = view["samples"]
            self.has_feats = view["has_feats"].view(bool)
            self.token_counts = (view["prompt"], view["answer"])
            self.strata, self._ids, start = {}, {}, 0
            for stratum, count, ids in about["strata"]:
                task, lang, tgt = stratum
                self.strata[task, lang, tgt] = view["by_stratum"][start : start + count]
                self._ids[task, lang, tgt] = str(ids)
                start += count
            # the steps follow from it; the rows, ten times as much, are as good as the tables' own bytes
            found = file_sha256(self.directory / "numbers.arrow")
            if about.get("numbers_sha256", found) != found:  # the first indices have none
                raise DataError(f"{self.directory / 'numbers.arrow'}: is damaged")
            self.digest = str(about["digest"])
            self.bad = int(about["bad"])
            self.sources = about["sources"]
        except _BROKEN as error:
            raise DataError(
                f"{self.directory}: is no whole index ({error}); part_collect_stats writes one"
            ) from None

    def __reduce__(self) -> Any:  # for a process that is started, not forked
        return ExampleTable, (self.directory,)

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[n] for n in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        (row,) = self._rows.slice(int(position) % len(self), 1).to_pylist()
        start, end = row.pop("start"), row.pop("end")
        return Example(**row, segment=None if start is None else (start, end))

    @cached_property
    def shards(self) -> np.ndarray:  # type: ignore[override]
        return number_shards(self._rows.column("audio").chunks)

    def utt_ids(self) -> Iterator[str]:
        return (utt for chunk in self._rows.column("utt_id").chunks for utt in chunk.to_pylist())

    def ids_digest(self, stratum: tuple[str, str, str]) -> str:
        return self._ids[stratum]

    def check(self, directories: Sequence[str | Path]) -> None:
        """See that it is of these data directories as they are.

        Raises:
            DataError: they have changed, or are others; names a table.
        """
        if len(directories) != len(self.sources):
            raise DataError(
                f"{self.directory}: is of {len(self.sources)} data directories, not of "
                f"{len(directories)}"
            )
        for directory, tables in zip(directories, self.sources, strict=True):
            for name in TABLES:
                path, known = Path(directory, name), tables.get(name)
                if stamp(path) is None and known is None:
                    continue
                same = known is not None and stamp(path) == known["stamp"]
                if not same and not (
                    path.is_file() and known and file_sha256(path) == known["sha256"]
                ):
                    raise DataError(
                        f"{self.directory}: {path} has changed since; write the index anew (stage 5, "
                        "or part_collect_stats)"
                    )


class IndexWriter:
    """Writes an index as examples come, whole or not at all; an older one is in its place until then.

    A context manager: the index appears when the block ends without an error. Of an example, memory
    holds some 20 bytes. To be made before the data directories are read.

    Args:
        directory: the index.
        data_dirs: where the examples are from.

    Raises:
        DataError: when the block ends: a table has changed since the writer was made.

    Attributes:
        bad: how many utterances of the data directories are faulty, and not among the examples.
    """

    def __init__(self, directory: str | Path, data_dirs: Sequence[str | Path]) -> None:
        self.directory, self.data_dirs = Path(directory), [Path(path) for path in data_dirs]
        self.bad = 0
        tables = [Path(path, name) for path in self.data_dirs for name in TABLES]
        self._stamps = {table: stamp(table) for table in tables}
        self._aside = self.directory.with_name(f".{self.directory.name}.tmp")
        self._waiting: list[Example] = []  # less than a block
        self._digest = hashlib.sha256()
        self._ids: dict[Stratum, Any] = {}  # the hash of their ids, in the order of their numbers
        self._columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}

    def __enter__(self) -> IndexWriter:
        shutil.rmtree(self._aside, ignore_errors=True)
        self._aside.mkdir(parents=True)
        self._sink = pa.OSFile(str(self._aside / "rows.arrow"), "wb")
        self._rows = pa.ipc.new_file(self._sink, _ROWS)
        return self

    def add(self, examples: Sequence[Example], prompt: np.ndarray, answer: np.ndarray) -> None:
        """Add examples.

        Args:
            prompt, answer: (N,) their token counts, see `Examples`.
        """
        self._waiting += examples
        while len(self._waiting) >= BLOCK:
            self._write_block(self._waiting[:BLOCK])
            del self._waiting[:BLOCK]
        self._columns["prompt"].append(_as_int32(prompt))
        self._columns["answer"].append(_as_int32(answer))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write_block(self._waiting)
            self._rows.close()
            self._sink.close()
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _write_block(self, examples: Sequence[Example]) -> None:
        if not examples:
            return
        self._digest.update(as_bytes(examples))
        rows = [_row(example) for example in examples]
        self._rows.write_batch(pa.RecordBatch.from_pylist(rows, schema=_ROWS))
        ids: dict[Stratum, list[str]] = {}
        for e in examples:
            ids.setdefault((e.task, e.lang, e.tgt), []).append(e.utt_id)
        for stratum, members in ids.items():
            if stratum in self._ids:
                members[0] = f"\n{members[0]}"
            hashed = self._ids.setdefault(stratum, hashlib.sha256())
            hashed.update("\n".join(members).encode())
        numbers = {stratum: number for number, stratum in enumerate(self._ids)}
        columns = {
            "samples": _as_int32(np.array([samples_of(e) for e in examples], dtype=np.int64)),
            "has_feats": np.array([e.feats is not None for e in examples], dtype=np.uint8),
            "stratum": np.array([numbers[e.task, e.lang, e.tgt] for e in examples], dtype=np.int32),
        }
        for name, column in columns.items():
            self._columns[name].append(column)

    def _write_numbers(self, path: Path, strata: Sequence[Stratum]) -> list[int]:
        """Write the columns; return the size of each stratum."""
        column = {
            name: np.concatenate([np.empty(0, dtype=kind), *self._columns[name]])
            for name, kind in _COLUMNS.items()
        }
        rank = {stratum: number for number, stratum in enumerate(strata)}
        ranks = np.array([rank[stratum] for stratum in self._ids], dtype=np.int32)
        of_example = ranks[column.pop("stratum")]
        by_stratum = _as_int32(np.argsort(of_example, kind="stable"))
        has_feats = column.pop("has_feats")
        arrays = {**column, "by_stratum": by_stratum, "has_feats": has_feats}
        batch = pa.RecordBatch.from_pydict({name: pa.array(arrays[name]) for name in arrays})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)  # one, so that a column is one array
        return [int(count) for count in np.bincount(of_example, minlength=len(strata))]

    def _finish(self) -> None:
        """Write what else there is to say, and put the index where it belongs."""
        strata = sorted(self._ids)
        counts = self._write_numbers(self._aside / "numbers.arrow", strata)
        about = {
            "version": _VERSION,
            "sizes": {path.name: path.stat().st_size for path in sorted(self._aside.iterdir())},
            "strata": [
                [stratum, count, self._ids[stratum].hexdigest()]
                for stratum, count in zip(strata, counts, strict=True)
            ],
            "digest": self._digest.hexdigest(),
            "numbers_sha256": file_sha256(self._aside / "numbers.arrow"),
            "bad": self.bad,
            "sources": [_describe(data_dir) for data_dir in self.data_dirs],
        }
        for table, before in self._stamps.items():
            if stamp(table) != before:
                raise DataError(
                    f"{table}: has changed while it was read; write the index again (stage 5, or "
                    "part_collect_stats)"
                )
        text = json.dumps(about, ensure_ascii=False)
        (self._aside / "index.json").write_text(text, encoding="utf-8")
        for path in self._aside.iterdir():
            sync_file(path)
        sync_directory(self._aside)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._aside.rename(self.directory)
        sync_directory(self.directory.parent)


def _row(example: Example) -> dict[str, Any]:
    row = {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}
    row["start"], row["end"] = row.pop("segment") or (None, None)
    return row


def _as_int32(values: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    if len(values) and not limits.min <= values.min() <= values.max() <= limits.max:
        raise DataError("an index holds at most 2,147,483,647 examples, samples or tokens")
    return values.astype(np.int32)


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(path)))


def _describe(data_dir: Path) -> dict[str, Any]:
    return {
        name: {"stamp": stamp(data_dir / name), "sha256": file_sha256(data_dir / name)}
        for name in TABLES
        if (data_dir / name).is_file()
    }
