"""Utterances that a training has left out: named in a file of each process, and counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_part.errors import DataError

FEW = 10
"""So many may be bad in the first steps, whatever their share."""


class BadUtterances:
    """The files ``bad_utterances.SPLIT.RANK.tsv`` of a training's directory.

    Args:
        rank: of this process.
        most: the share of all that may be bad.
    """

    def __init__(self, output_dir: Path, rank: int, most: float) -> None:
        self._output_dir = output_dir
        self._rank = rank
        self._most = most

    def forget(self, *splits: str) -> None:
        """Take away the names that an earlier run has left, also of processes that are no more."""
        for split in splits:
            for file in self._output_dir.glob(f"bad_utterances.{split}.*.tsv"):
                file.unlink(missing_ok=True)

    def name(self, bad: Sequence[tuple[str, str]], split: str, mode: str) -> None:
        """Write down (id, reason) of this process's utterances.

        Args:
            mode: "a" adds to those of the split, "w" takes their place.
        """
        file = self._output_dir / f"bad_utterances.{split}.{self._rank}.tsv"
        if not bad:
            if mode == "w":
                file.unlink(missing_ok=True)  # of an earlier validation
            return
        with file.open(mode, encoding="utf-8") as out:
            out.writelines(f"{utt}\t{reason}\n" for utt, reason in bad)
        logging.warning("%s: left out %d bad utterances, see %s", split, len(bad), file)

    def check(self, bad: float, of: float) -> None:
        """Refuse to go on where too many are bad.

        Raises:
            DataError: more than the share that may be, and than a few.
        """
        if bad > max(self._most * of, FEW):
            raise DataError(
                f"{bad:.0f} of {of:.0f} utterances were bad, more than --max_bad_share "
                f"{self._most}; see {self._output_dir}/bad_utterances.*"
            )
