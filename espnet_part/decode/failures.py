"""What could not be decoded or encoded: named in a file, and an error where it is too much."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from espnet_part.decode.lines import one_line
from espnet_part.errors import DataError
from espnet_part.files import atomic_write

FAILED = "failed.tsv"


def write_failures(directory: Path, failures: Iterable[tuple[str, str]]) -> None:
    """Write failed.tsv: an (utterance, reason) a line; empty where nothing failed."""
    with atomic_write(directory / FAILED) as file:
        for utt, reason in failures:
            file.write(f"{utt}\t{one_line(reason)}\n")


def check_failures(directory: Path, failed: int, total: int, max_bad_share: float) -> None:
    """Tell of failures that failed.tsv names.

    Raises:
        DataError: more than ``max_bad_share`` of all failed.
    """
    if not failed:
        return
    file = directory / FAILED
    logging.warning("%d utterances failed: see %s", failed, file)
    if failed > max_bad_share * total:
        raise DataError(
            f"{failed} of {total} utterances failed (at most {max_bad_share:.1%} may): see {file}"
        )
