"""Data directories of any size, written in constant memory (an external sort by id)."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from espnet_part.corpora.ledger import Ledger
from espnet_part.data.datadir import Example
from espnet_part.errors import DataError
from espnet_part.files import sync_directory
from espnet_part.kaldi import CONTROL, checked_line, is_id
from espnet_part.sorting import LineSorter

# A record's fields after the id, and the table that each makes.
_TABLES = (
    (1, "utt2task"),
    (2, "utt2lang"),
    (3, "utt2tgt"),
    (4, "text"),
    (5, "src_text"),
    (6, "utt2num_samples"),
    (7, "utt2spk"),
    (8, "feats.scp"),
)
_ALWAYS = ("utt2task", "utt2lang", "utt2tgt")
_AUDIO, _START, _END, _FIELDS = 9, 10, 11, 12


class DirectoryWriter:
    """Writes examples in any order and number into a data directory, as `DataDir.write` would.

    A context manager: the directory appears, whole, when the block ends without an error, and
    replaces what an earlier run left. Of examples with one id the first is kept.

    Args:
        path: the directory.
        ledger: is told what was kept, and which ids came twice; its files go into the directory.
            Without one, an id that comes twice is an error.
        split: the name of this directory's split in the ledger; default: the directory's name.

    Raises:
        DataError: ``path`` has no name, or holds files that are no data directory; an id comes twice; by
            the ledger, nothing is left.
    """

    def __init__(
        self, path: str | Path, ledger: Ledger | None = None, split: str | None = None
    ) -> None:
        self.path = Path(path)
        if self.path.name in ("", ".."):  # it is made beside its place, and renamed
            raise DataError(f"{str(path)!r}: is no place for a data directory; give it a name")
        self.ledger = ledger
        self.split = split if split is not None else self.path.name
        self._aside = self.path.with_name(f".{self.path.name}.tmp")
        self._records = LineSorter(self._aside / ".run")
        self._recordings: dict[str, str | None] = {}

    def __enter__(self) -> DirectoryWriter:
        foreign = self.path.exists() and not (self.path / "utt2task").exists()
        if foreign and (not self.path.is_dir() or any(self.path.iterdir())):
            raise DataError(f"{self.path}: holds something that is no data directory")
        shutil.rmtree(self._aside, ignore_errors=True)  # a killed run's
        self._aside.mkdir(parents=True)
        if self.ledger is not None:
            self.ledger.open_split(self.split, self._aside)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._write()
            if self.ledger is not None:
                if why := self.ledger.why_empty(self.split):
                    raise DataError(f"{self.split}: {why}")
                self.ledger.close_split(self.split, self._aside)
        except BaseException:
            self._discard()
            raise
        self._appear()

    def add(self, example: Example, recording: str | None = None) -> None:
        """Add one example.

        Args:
            recording: the name in ``wav.scp`` of audio of which the example is a segment; by
                default recordings are numbered.

        Raises:
            DataError: a value would not survive in a line; two recordings have one name.
        """
        e = example
        start = end = ""
        if e.audio and e.segment:
            start, end = f"{e.segment[0]:.6f}", f"{e.segment[1]:.6f}"
            self._recordings.setdefault(e.audio, recording)
        samples = "" if e.num_samples is None else str(e.num_samples)
        values = (
            e.utt_id, e.task, e.lang, e.tgt, e.text, e.src_text or "", samples, e.spk or "",
            e.feats or "", e.audio or "", start, end,
        )  # fmt: skip
        line = "\n".join(value.strip(" ") for value in values)
        if line.count("\n") != _FIELDS - 1 or CONTROL.search(line) or not is_id(e.utt_id):
            raise DataError(f"{self.path}: cannot be written as lines: {values!r}")
        self._records.add(line.replace("\n", "\t").encode() + b"\n")

    def _write(self) -> None:
        with ExitStack() as stack:
            tables: dict[str, BinaryIO] = {}

            def put(name: str, key: bytes, value: bytes) -> None:
                if name not in tables:
                    file = (self._aside / name).open("wb", buffering=1 << 18)
                    tables[name] = stack.enter_context(file)
                tables[name].write(checked_line(key, value))

            for name in _ALWAYS:
                tables[name] = stack.enter_context((self._aside / name).open("wb"))
            names = self._recording_names()
            recordings = sorted((name, audio) for audio, name in names.items())
            recordings.reverse()  # the first is taken from the end
            kept: Counter[tuple[bytes, bytes, bytes]] = Counter()
            previous = b""
            with_text = False
            for line in self._records.merged():
                fields = line[:-1].split(b"\t")
                utt = fields[0]
                if utt == previous:
                    self._duplicate(fields)
                    continue
                previous = utt
                kept[fields[1], fields[2], fields[3]] += 1
                for place, name in _TABLES:
                    if fields[place] or place <= 4:  # an empty text is an empty reference
                        put(name, utt, fields[place])
                with_text = with_text or bool(fields[4])
                audio = fields[_AUDIO]
                if audio and fields[_START]:
                    span = b"%b %b %b" % (names[audio], fields[_START], fields[_END])
                    put("segments", utt, span)
                elif audio:
                    while recordings and recordings[-1] < (utt, audio):
                        put("wav.scp", *recordings.pop())
                    put("wav.scp", utt, audio)
            for name_and_audio in reversed(recordings):
                put("wav.scp", *name_and_audio)
            for file in tables.values():
                file.flush()
                os.fsync(file.fileno())
        if not with_text:
            (self._aside / "text").unlink(missing_ok=True)
        self._count(kept)

    def _recording_names(self) -> dict[bytes, bytes]:
        """Audio that segments are cut from -> its name."""
        unnamed = sorted(audio for audio, name in self._recordings.items() if name is None)
        numbered = {audio: f"recording_{n:07d}" for n, audio in enumerate(unnamed, 1)}
        names = {
            audio: numbered[audio] if name is None else name
            for audio, name in self._recordings.items()
        }
        taken: dict[str, str] = {}
        for audio, name in names.items():
            if not is_id(name) or taken.setdefault(name, audio) != audio:
                raise DataError(f"{self.path}: {audio}: the recording's name is taken: {name!r}")
        return {audio.encode(): name.encode() for audio, name in names.items()}

    def _duplicate(self, fields: list[bytes]) -> None:
        utt, task, lang, tgt = (field.decode() for field in fields[:4])
        if self.ledger is None:
            raise DataError(f"{self.path}: the id {utt} is given twice")
        self.ledger.drop(self.split, direction(lang, tgt), utt, "duplicate id", "", task)

    def _count(self, kept: Counter[tuple[bytes, bytes, bytes]]) -> None:
        if self.ledger is not None:
            for (task, lang, tgt), count in kept.items():
                key = direction(lang.decode(), tgt.decode())
                self.ledger.keep(self.split, key, task.decode(), count)

    def _discard(self) -> None:
        if self.ledger is not None:
            self.ledger.close_split(self.split, None)
        shutil.rmtree(self._aside, ignore_errors=True)

    def _appear(self) -> None:
        """Put the finished directory where it belongs."""
        sync_directory(self._aside)
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.replace(old)
        self._aside.replace(self.path)
        sync_directory(self.path.parent)
        shutil.rmtree(old, ignore_errors=True)


def direction(lang: str, tgt: str) -> str:
    """The key under which scores and ledgers count: "de", or "de-en" for a translation."""
    return lang if lang == tgt else f"{lang}-{tgt}"
