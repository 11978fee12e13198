"""An index of data directories: examples are rows of memory-mapped Arrow files, read when they are needed.

Millions of examples as objects would fill the memory of each process that trains or loads. Here the
files are shared by all processes of a node, as pages of the system's cache, and a process holds what it is
reading. ``part_collect_stats`` writes an index; a data directory stays what people write and read.

A directory of three files: ``rows.arrow``, the examples; ``numbers.arrow``, the columns that planning
needs; ``index.json``, what else there is to say, written last.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from espnet_part.data.datadir import TABLES, Example
from espnet_part.data.examples import ExampleList, Examples
from espnet_part.data.shards import number_shards
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import sync_directory, sync_file
from espnet_part.model.base import file_sha256
from espnet_part.parsing import read_json_object

_VERSION = 1
_ROWS_A_BATCH = 10_000
_ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("utt_id", "task", "lang", "tgt", "text", "src_text")),
        *(("audio", pa.string()), ("start", pa.float64()), ("end", pa.float64())),
        *(("num_samples", pa.int64()), ("spk", pa.string()), ("feats", pa.string())),
    ]
)
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
                if _stamp(path) is None and known is None:
                    continue
                same = known is not None and _stamp(path) == known["stamp"]
                if not same and not (
                    path.is_file() and known and file_sha256(path) == known["sha256"]
                ):
                    raise DataError(
                        f"{self.directory}: {path} has changed since; write the index anew (stage 5, "
                        "or part_collect_stats)"
                    )


def write_index(
    directory: str | Path,
    examples: Sequence[Example],
    token_counts: tuple[np.ndarray, np.ndarray],
    data_dirs: Sequence[str | Path],
    bad: int = 0,
) -> None:
    """Write an index, whole or not at all; an older one is in its place until then.

    Args:
        examples: of the data directories, without the faulty ones.
        token_counts: see `Examples`.
        data_dirs: where they are from.
        bad: how many utterances are faulty.
    """
    directory = Path(directory)
    aside = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    listed = ExampleList(examples)
    _write_rows(aside / "rows.arrow", examples)
    _write_numbers(aside / "numbers.arrow", listed, token_counts)
    about = {
        "version": _VERSION,
        "sizes": {path.name: path.stat().st_size for path in sorted(aside.iterdir())},
        "strata": [[s, len(members), listed.ids_digest(s)] for s, members in listed.strata.items()],
        "digest": listed.digest,
        "bad": bad,
        "sources": [_describe(Path(data_dir)) for data_dir in data_dirs],
    }
    (aside / "index.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
    for path in aside.iterdir():
        sync_file(path)
    sync_directory(aside)
    shutil.rmtree(directory, ignore_errors=True)
    aside.rename(directory)
    sync_directory(directory.parent)


def _write_rows(path: Path, examples: Sequence[Example]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _ROWS) as writer:
        for start in range(0, len(examples), _ROWS_A_BATCH):
            rows = [_row(example) for example in examples[start : start + _ROWS_A_BATCH]]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_ROWS))


def _row(example: Example) -> dict[str, Any]:
    row = {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}
    row["start"], row["end"] = row.pop("segment") or (None, None)
    return row


def _write_numbers(
    path: Path, examples: ExampleList, token_counts: tuple[np.ndarray, np.ndarray]
) -> None:
    by_stratum = [*examples.strata.values(), np.empty(0, dtype=np.int64)]
    columns = {
        "samples": examples.samples,
        "prompt": token_counts[0],
        "answer": token_counts[1],
        "by_stratum": np.concatenate(by_stratum),
    }
    arrays = {name: pa.array(_as_int32(column)) for name, column in columns.items()}
    arrays["has_feats"] = pa.array(examples.has_feats.astype(np.uint8))
    batch = pa.RecordBatch.from_pydict(arrays)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)  # one, so that a column is one array


def _as_int32(values: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    if len(values) and not limits.min <= values.min() <= values.max() <= limits.max:
        raise DataError("an index holds at most 2,147,483,647 examples, samples or tokens")
    return values.astype(np.int32)


def _open(path: Path) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(path)))


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _describe(data_dir: Path) -> dict[str, Any]:
    return {
        name: {"stamp": _stamp(data_dir / name), "sha256": file_sha256(data_dir / name)}
        for name in TABLES
        if (data_dir / name).is_file()
    }
