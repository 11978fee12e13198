"""What became of each utterance of a decoding job.

Hypotheses are on the disk, in a journal, a few seconds after they are found. ESPnet's files are made from
them, whole or not at all, when the shard is done.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from espnet_part.decode.failures import write_failures
from espnet_part.decode.lines import one_line, one_word
from espnet_part.files import atomic_write
from espnet_part.journal import Journal
from espnet_part.kaldi import format_line


@dataclass(frozen=True)
class Record:
    """What became of one utterance.

    Attributes:
        source: hash of what was decoded; a record of other content is not reused.
        error: why there is no hypothesis; then the fields after it are empty.
        others: (text, tokens, token_int, score) of further hypotheses, the next best first.
        seconds: decoding time since the utterance before it was done; their sum is the whole time.
        audio_seconds: length of its audio; 0 for a text task.
    """

    utt_id: str
    source: str
    error: str | None = None
    text: str = ""
    tokens: tuple[str, ...] = ()
    token_int: tuple[int, ...] = ()
    score: float = 0.0
    others: tuple[tuple[Any, ...], ...] = ()
    seconds: float = 0.0
    audio_seconds: float = 0.0

    def hypotheses(self) -> list[tuple[Any, ...]]:
        """(text, tokens, token_int, score) of all of them, the best one first."""
        if self.error is not None:
            return []
        return [(self.text, self.tokens, self.token_int, self.score), *self.others]


class Records:
    """The records that a decoding job has written so far.

    Args:
        path: made with its directory when the first record is added.
    """

    def __init__(self, path: Path):
        self._journal = Journal(path)

    def read(self) -> dict[str, Record]:
        """All records by utterance id, the last one of an id; what is damaged is decoded again."""
        records = {}
        for values in self._journal.read():
            try:
                read = Record(**values)  # JSON has no tuples
                records[read.utt_id] = replace(
                    read,
                    tokens=tuple(read.tokens),
                    token_int=tuple(read.token_int),
                    others=tuple(map(tuple, read.others)),
                )
            except TypeError:
                logging.warning("%s: a damaged record is decoded again", self._journal.path)
        return records

    def add(self, records: Iterable[Record]) -> None:
        """Append records; they are on the disk when this returns.

        Raises:
            DataError: the disk is full, or writing is not permitted.
        """
        self._journal.add(map(asdict, records))

    def clear(self) -> None:
        """Forget everything."""
        self._journal.clear()


def write_shard(output_dir: Path, records: Sequence[Record]) -> dict[str, float]:
    """Write ESPnet's 1best_recog/{text,token,token_int,score}, failed.tsv and rtf.json.

    Of further hypotheses there are 2best_recog, 3best_recog, ….

    Args:
        output_dir: such as logdir/output.1.
        records: one an utterance, in the order of the lines.

    Returns:
        The content of rtf.json: decode_seconds and audio_seconds of speech tasks, their ratio
        rtf, and text_seconds, the time that text tasks took.
    """
    good = [record for record in records if record.error is None]
    failures = ((record.utt_id, record.error) for record in records if record.error is not None)
    write_failures(output_dir, failures)
    speech = [record for record in good if record.audio_seconds]
    times = {
        "decode_seconds": sum(record.seconds for record in speech),
        "audio_seconds": sum(record.audio_seconds for record in speech),
        "text_seconds": sum(record.seconds for record in good if not record.audio_seconds),
    }
    rtf = times["decode_seconds"] / times["audio_seconds"] if times["audio_seconds"] else 0.0
    times = {**times, "rtf": rtf, "utterances": len(good), "failed": len(records) - len(good)}
    with atomic_write(output_dir / "rtf.json") as file:
        json.dump(times, file, indent=1)
        file.write("\n")
    most = max([1, *(len(record.hypotheses()) for record in good)])
    for rank in reversed(
        range(most)
    ):  # the best come last: where their `text` is, the shard is done
        _write_ranked(output_dir / f"{rank + 1}best_recog", good, rank)
    return times


def _write_ranked(directory: Path, records: Sequence[Record], rank: int) -> None:
    """Write the hypotheses of a rank, of the records that have as many, in the order of the key file."""
    ranked = [(r.utt_id, r.hypotheses()[rank]) for r in records if len(r.hypotheses()) > rank]
    columns = {
        "score": [f"{score:.4f}" for _, (_, _, _, score) in ranked],
        "token_int": [" ".join(map(str, ids)) for _, (_, _, ids, _) in ranked],
        "token": [" ".join(map(one_word, tokens)) for _, (_, tokens, _, _) in ranked],
        "text": [one_line(text) for _, (text, _, _, _) in ranked],
    }
    for name, values in columns.items():
        with atomic_write(directory / name) as file:
            for (utt, _), value in zip(ranked, values, strict=True):
                file.write(format_line(directory / name, utt, value))
