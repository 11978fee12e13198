"""Work on many files in several processes, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from espnet_part.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")

# Jobs handed to a process at once: few, for the bar and for balance; more where there are millions,
# since every hand-over is an object in memory from the beginning.
_CHUNK, _LARGEST_CHUNK = 16, 512


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], nj: int, label: str
) -> Iterator[Result]:
    """Apply a function of a module to each job; results come in the order of the jobs.

    Args:
        function: must be importable, for it runs in other processes where ``nj`` > 1.
        jobs: its arguments.
        nj: number of processes.
        label: stands before the progress bar on stderr.

    Raises:
        DataError: a process was killed (most often for want of memory).
    """
    from tqdm import tqdm

    # in a log file a line every ten seconds is enough
    interval = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(total=len(jobs), desc=label, mininterval=interval, disable=not jobs) as bar:
        for result in _results(function, jobs, nj):
            bar.update()
            yield result


def _results(function: Callable[[Job], Result], jobs: Sequence[Job], nj: int) -> Iterator[Result]:
    if nj <= 1 or len(jobs) <= _CHUNK:
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(min(nj, len(jobs)))
    try:
        chunk = min(max(_CHUNK, len(jobs) // (100 * nj)), _LARGEST_CHUNK)
        yield from pool.map(function, jobs, chunksize=chunk)
    except BrokenProcessPool:
        raise DataError(
            "a process was killed, probably for want of memory; use a smaller --nj"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
