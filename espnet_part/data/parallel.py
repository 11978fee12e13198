"""Work on many files in several processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from espnet_part.errors import DataError
from espnet_part.progress import open_bar

Job = TypeVar("Job")
Result = TypeVar("Result")

# Jobs handed to a process at once: few, for the bar and for balance; more where there are millions,
# since every hand-over is an object in memory from the beginning.
_CHUNK, _LARGEST_CHUNK = 16, 512


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    nj: int,
    label: str,
    at_once: int | None = None,
) -> Iterator[Result]:
    """Apply a function of a module to each job; results come in the order of the jobs.

    Args:
        function: must be importable, for it runs in other processes where ``nj`` > 1.
        jobs: its arguments.
        nj: number of processes.
        label: stands before the progress on stderr.
        at_once: jobs that a process is handed; None: so many that handing over small ones costs little.

    Raises:
        DataError: a process was killed (most often for want of memory).
    """
    with open_bar(label, len(jobs), disable=not jobs) as bar:
        for result in _results(function, jobs, nj, at_once):
            bar.update()
            yield result


def _results(
    function: Callable[[Job], Result], jobs: Sequence[Job], nj: int, at_once: int | None
) -> Iterator[Result]:
    if nj <= 1 or len(jobs) <= (at_once or _CHUNK):
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(min(nj, len(jobs)))
    try:
        chunk = at_once or min(max(_CHUNK, len(jobs) // (100 * nj)), _LARGEST_CHUNK)
        yield from pool.map(function, jobs, chunksize=chunk)
    except BrokenProcessPool:
        raise DataError(
            "a process was killed, probably for want of memory; use a smaller --nj"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
