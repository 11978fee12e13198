"""One piece of work on data directories done by several jobs, here or on a cluster.

Each of ``nj`` jobs does one split, which appears in ``OUT_DIR/.splitNJ/JOB`` whole or not at all, so a
job that was killed is done again alone. Who joins the splits does those that are lacking.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from espnet_part import __version__
from espnet_part.data.datadir import TABLES
from espnet_part.data.parallel import run_jobs
from espnet_part.data.tables import stamp
from espnet_part.files import sync_directory, sync_file

_MADE_FROM = "made_from.json"


class Work(Protocol):
    """Work that can be split; other processes must be able to import it.

    Attributes:
        data_dir: the data directory.
        made_from: what the result depends on (see `made_from`).
        least: fewer utterances than this are not worth a job.
    """

    @property
    def data_dir(self) -> Path: ...

    @property
    def made_from(self) -> str: ...

    @property
    def least(self) -> int: ...

    def __call__(self, directory: Path, job: int, nj: int) -> None:
        """Do the split of a job (1 is the first), into a new directory."""


def useful_jobs(data_dir: Path, nj: int, least: int) -> int:
    """So many jobs, but no more than have ``least`` utterances of a directory each."""
    try:
        with (data_dir / "utt2task").open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 20), b""))
    except OSError:  # told by who reads it
        return 1
    return max(1, min(nj, -(-lines // least)))


def do_split(work: Work, out_dir: Path, nj: int, job: int) -> None:
    """Do the split of a job, unless it is done, or so many jobs are not needed."""
    nj = useful_jobs(work.data_dir, nj, work.least)
    if job <= nj:
        _split(work, out_dir, nj, job)


def _split(work: Work, out_dir: Path, nj: int, job: int) -> Path:
    path = out_dir / f".split{nj}" / str(job)
    if _is_done(path, work):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # a place of its own: a job that was put back into the queue may still run elsewhere
    with tempfile.TemporaryDirectory(prefix=f".{job}.", dir=path.parent) as own:
        aside = Path(own, "split")
        aside.mkdir()
        began = work.made_from  # before the tables are read
        work(aside, job, nj)
        (aside / _MADE_FROM).write_text(began, encoding="utf-8")
        for made in aside.iterdir():
            sync_file(made)
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
        sync_directory(path.parent)
    return path


@contextmanager
def all_splits(work: Work, out_dir: Path, nj: int) -> Iterator[list[Path]]:
    """The directories of all splits, in their order; those that are not there are made now.

    They are removed when the block ends without an error.
    """
    nj = useful_jobs(work.data_dir, nj, work.least)
    do, jobs = partial(_split, work, out_dir, nj), range(1, nj + 1)
    yield list(map(do, jobs) if nj == 1 else run_jobs(do, jobs, nj, "splits", at_once=1))
    remove_splits(out_dir)


def remove_splits(out_dir: Path) -> None:
    """Remove what jobs have done of work whose result goes to a directory."""
    for path in out_dir.glob(".split[0-9]*"):
        shutil.rmtree(path)


def _is_done(path: Path, work: Work) -> bool:
    try:
        return (path / _MADE_FROM).read_text(encoding="utf-8") == work.made_from
    except (OSError, ValueError):
        return False


def made_from(settings: Any, data_dir: str | Path) -> str:
    """What work on a directory depends on: settings that JSON can hold, its tables, and this package."""
    stamps = {name: stamp(Path(data_dir, name)) for name in TABLES}
    return json.dumps([__version__, settings, str(data_dir), stamps], sort_keys=True)
