"""Data directories: one-line-per-utterance tables (Kaldi's layout) to and from `Example` records.

Tables: ``wav.scp`` (an entry of `espnet_part.data.sources`; a recording where ``segments`` is given),
``segments``, ``text`` (the target), ``utt2task``, ``utt2lang`` (language heard or read),
``utt2tgt`` (language written; may be left out where a task writes the one it reads), ``src_text``
(what tasks read that read text),
``utt2spk``, ``utt2num_samples`` (at 16 kHz) and ``feats.scp`` (cached encoder output).
Lines may come in any order. What is wrong is gathered, never raised line by line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from espnet_part.data.datadir.example import TABLES, Example
from espnet_part.data.datadir.faults import (
    Fault,
    check_share,
    count_bad,
    read_faults,
    report_faults,
)
from espnet_part.data.datadir.reader import CombinedReader, ExampleReader
from espnet_part.data.datadir.writer import ExampleWriter

__all__ = [
    "TABLES",
    "CombinedReader",
    "DataDir",
    "Example",
    "ExampleReader",
    "ExampleWriter",
    "Fault",
    "check_share",
    "count_bad",
    "read_faults",
    "report_faults",
]


class DataDir:
    """Reads and writes data directories."""

    @staticmethod
    def load(
        path: str | Path,
        tasks: Collection[str] | None = None,
        need_text: bool = True,
        empty_text: bool = False,
    ) -> tuple[list[Example], list[Fault]]:
        """Read a directory.

        Args:
            path: the directory.
            tasks: the task names that may occur; None for all.
            need_text: false for a test set, whose references may be lacking or empty.
            empty_text: whether a text that is needed may be empty: of a test set that holds silence
                every word that is written is an insertion.

        Returns:
            The examples without any fault, in the order of ``utt2task``, and all faults. An
            utterance with a fault in any of its lines is in the second, never in the first.
        """
        reader = ExampleReader(path, tasks, need_text, empty_text)
        examples = [example for part in reader for example in part]
        return examples, reader.faults

    @staticmethod
    def combine(
        paths: Sequence[str | Path],
        tasks: Collection[str] | None = None,
        need_text: bool = True,
    ) -> tuple[list[Example], list[Fault]]:
        """Read several directories as one; an id that two of them hold is a fault in both."""
        reader = CombinedReader(paths, tasks, need_text)
        examples = [example for part in reader for example in part]
        return examples, reader.faults

    @staticmethod
    def write(path: str | Path, examples: Iterable[Example], with_text: bool | None = None) -> None:
        """Write a directory: every table sorted by id, whole or not at all.

        Args:
            path: the directory.
            examples: in any order.
            with_text: whether there is a ``text``, in which a line without anything but its id is
                an empty reference; None where one example at least has a text.

        Raises:
            DataError: an id is given twice, or a value would not survive in a line.
        """
        with ExampleWriter(path, with_text) as writer:
            writer.add(sorted(examples, key=lambda e: e.utt_id))
