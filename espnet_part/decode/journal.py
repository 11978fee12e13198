"""What a decoding job has done so far, so that a killed one goes on where it stopped.

Hypotheses are appended to one JSON-lines file, on the disk before the next batch begins. ESPnet's
files are made from it, whole or not at all, when the shard is done.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.kaldi import format_line

# what would end or split a line of ESPnet's files: controls, Unicode's line ends, byte-order mark
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")


@dataclass(frozen=True)
class Record:
    """What became of one utterance.

    Attributes:
        source: hash of what was decoded; a record of other content is not reused.
        error: why there is no hypothesis; then the fields after it are empty.
        seconds: this utterance's share of its batch's decoding time.
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


class Journal:
    """An append-only file of records.

    Args:
        path: made with its directory when the first record is added.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[str, Record]:
        """All records by utterance id, the last one of an id; a line cut by a kill is removed."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            logging.warning("%s: the last line was cut off and is decoded again", self.path)
            os.truncate(self.path, whole)
        records = {}
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
            try:
                values = json.loads(line)
                values["tokens"] = tuple(values["tokens"])
                values["token_int"] = tuple(values["token_int"])
                record = Record(**values)
            except (ValueError, TypeError, KeyError):
                logging.warning("%s: line %d is damaged and decoded again", self.path, number)
                continue
            records[record.utt_id] = record
        return records

    def add(self, records: Iterable[Record]) -> None:
        """Append records; they are on the disk when this returns.

        Raises:
            DataError: the disk is full, or writing is not permitted.
        """
        lines = [json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_durably(self.path, "".join(lines).encode())
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def clear(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)


def append_durably(path: Path, content: bytes) -> None:
    """Append bytes; they are on the disk when this returns."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def cannot_write(path: Path, error: OSError) -> DataError:
    """What to tell of a full disk or a lacking permission."""
    return DataError(
        f"{path}: cannot be written: {error.strerror}; what was done before is kept: once this is "
        "mended, the same command goes on from here"
    )


def one_line(text: str) -> str:
    """A hypothesis as the value of a line: controls and line ends become spaces."""
    return _BREAKS.sub(" ", text).strip()


def one_word(token: str) -> str:
    """A token as a word of a line; white space becomes ESPnet's `<space>`."""
    return re.sub(r"\s+", "<space>", _BREAKS.sub(" ", token)) or "<blank>"


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
    with atomic_write(output_dir / "failed.tsv") as file:
        for record in records:
            if record.error is not None:
                file.write(f"{record.utt_id}\t{one_line(record.error)}\n")
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
