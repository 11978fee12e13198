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
    seconds: float = 0.0
    audio_seconds: float = 0.0


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
                    read, tokens=tuple(read.tokens), token_int=tuple(read.token_int)
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

    Args:
        output_dir: such as logdir/output.1.
        records: one an utterance, in the order of the lines.

    Returns:
        The content of rtf.json: decode_seconds and audio_seconds of speech tasks, their ratio
        rtf, and text_seconds, the time that text tasks took.
    """
    good = [record for record in records if record.error is None]
    best = output_dir / "1best_recog"
    columns = {
        "text": lambda r: one_line(r.text),
        "token": lambda r: " ".join(one_word(token) for token in r.tokens),
        "token_int": lambda r: " ".join(str(token) for token in r.token_int),
        "score": lambda r: f"{r.score:.4f}",
    }
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
    # `text` comes last: where it is, the shard is done
    for name in ("score", "token_int", "token", "text"):
        with atomic_write(best / name) as file:
            for record in good:  # in the order of the key file
                file.write(format_line(best / name, record.utt_id, columns[name](record)))
    return times
