"""A test set dealt out to decoding jobs, and their outputs joined."""

from __future__ import annotations

import shutil
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.recipe.stages import deal_out

_OUTPUTS = ("text", "token", "token_int", "score")


def write_shards(text: Path, logdir: Path, jobs: int) -> int:
    """Write ``keys.N.scp`` of each job; return the number of jobs.

    What an interrupted decoding with the same number of jobs wrote is kept.

    Raises:
        DataError: nothing to decode.
    """
    utterances = _first_words(text)
    if not utterances:
        raise DataError(f"{text}: nothing to decode")
    shards = deal_out(utterances, jobs)
    before = sorted(logdir.glob("keys.*.scp"))
    same = len(before) == len(shards) and all(
        _first_words(logdir / f"keys.{n}.scp") == list(shard) for n, shard in enumerate(shards, 1)
    )
    if not same:
        shutil.rmtree(logdir, ignore_errors=True)
        for n, shard in enumerate(shards, 1):
            with atomic_write(logdir / f"keys.{n}.scp") as file:
                file.writelines(f"{utterance}\n" for utterance in shard)
    return len(shards)


def join_shards(directory: Path) -> list[str]:
    """Join the outputs of all jobs, in the order of their ids; return the utterances without one.

    Raises:
        DataError: two jobs have the same utterance.
    """
    logdir = directory / "logdir"
    wanted: set[str] = set()
    decoded: set[str] = set()
    for keys in logdir.glob("keys.*.scp"):
        wanted.update(_first_words(keys))
    for name in _OUTPUTS:
        lines: dict[str, str] = {}
        shards = sorted(logdir.glob(f"output.*/1best_recog/{name}"))
        for shard in shards:
            with shard.open(encoding="utf-8") as file:
                for line in file.read().removesuffix("\n").split("\n"):
                    key = line.split(" ", 1)[0]
                    if not key:
                        continue
                    if key in lines:
                        raise DataError(f"{shard}: {key} is in another job's output, too")
                    lines[key] = line
        if shards:
            with atomic_write(directory / name) as joined:
                joined.writelines(f"{lines[key]}\n" for key in sorted(lines))
        if name == "text":
            decoded = set(lines)
    return sorted(wanted - decoded)


def _first_words(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [line.split(maxsplit=1)[0] for line in content.split("\n") if line.strip()]
