"""A test set dealt out to decoding jobs, and their outputs joined."""

from __future__ import annotations

import shutil
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.kaldi import format_line, iter_table, read_table, write_table
from espnet_part.recipe.stages import deal_out

_OUTPUTS = ("text", "token", "token_int", "score")


def write_shards(text: Path, logdir: Path, jobs: int) -> int:
    """Write ``keys.N.scp`` of each job; return the number of jobs.

    What an interrupted decoding with the same number of jobs wrote is kept.

    Raises:
        DataError: nothing to decode.
    """
    utterances = _ids(text)
    if not utterances:
        raise DataError(f"{text}: nothing to decode")
    shards = deal_out(utterances, jobs)
    before = sorted(logdir.glob("keys.*.scp"))
    same = len(before) == len(shards) and all(
        _ids(logdir / f"keys.{n}.scp") == list(shard) for n, shard in enumerate(shards, 1)
    )
    if not same:
        shutil.rmtree(logdir, ignore_errors=True)
        for n, shard in enumerate(shards, 1):
            with atomic_write(logdir / f"keys.{n}.scp") as file:
                file.writelines(format_line(file.name, utterance, "") for utterance in shard)
    return len(shards)


def join_shards(directory: Path) -> list[str]:
    """Join the outputs of all jobs, in the order of their ids; return the utterances without one.

    Raises:
        DataError: two jobs have the same utterance.
    """
    logdir = directory / "logdir"
    wanted = {utt for keys in logdir.glob("keys.*.scp") for utt in _ids(keys)}
    decoded: set[str] = set()
    for name in _OUTPUTS:
        values: dict[str, str] = {}
        shards = sorted(logdir.glob(f"output.*/1best_recog/{name}"))
        for shard in shards:
            table = read_table(shard)
            if twice := table.keys() & values.keys():
                raise DataError(f"{shard}: {min(twice)} is in another job's output, too")
            values.update(table)
        if shards:
            write_table(directory / name, values.items())
        if name == "text":
            decoded = set(values)
    return sorted(wanted - decoded)


def _ids(path: Path) -> list[str]:
    """The ids of a table in the order of its lines; none where there is no table."""
    return [utt for _, utt, _ in iter_table(path)] if path.exists() else []
