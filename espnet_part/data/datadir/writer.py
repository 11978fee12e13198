"""Writing data directories: every table sorted by id, whole or not at all."""

from __future__ import annotations

import heapq
import itertools
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from espnet_part.data.datadir.example import TABLES, Example
from espnet_part.errors import DataError
from espnet_part.files import sync_directory, sync_file
from espnet_part.kaldi import CONTROL, checked_line, format_line, iter_table


class ExampleWriter:
    """Writes a directory as its examples come, sorted by id: every table whole or not at all.

    A context manager: the tables appear when the block ends without an error. Memory holds the names
    of the recordings that segments are cut from.

    Args:
        path, with_text: see `DataDir.write`.
    """

    def __init__(self, path: str | Path, with_text: bool | None = None) -> None:
        self.path = Path(path)
        self.with_text = with_text
        self._aside = self.path / ".tables.tmp"
        self._files: dict[str, BinaryIO] = {}
        self._recordings: dict[str, int] = {}  # in the order of their coming
        self._has_text = False
        self._last = ""

    def __enter__(self) -> ExampleWriter:
        shutil.rmtree(self._aside, ignore_errors=True)
        self._aside.mkdir(parents=True)
        for name in ("utt2task", "utt2lang", "utt2tgt"):
            self._put(name, b"")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for file in self._files.values():
                file.close()
            if kind is None:
                self._finish()
        except OSError as error:
            # a failed write does not say of which file
            error.filename = error.filename or str(self.path)
            raise
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def add(self, examples: Sequence[Example]) -> None:
        """Add examples, sorted by id, behind those that were added before.

        Raises:
            DataError: an id is given twice, or a value would not survive in a line.
        """
        ids = [e.utt_id for e in examples]
        for one, other in itertools.pairwise([self._last, *ids]):
            if one >= other and other:
                raise DataError(f"{self.path}: the id {other} is given twice")
        self._last = ids[-1] if ids else self._last
        rows: dict[str, Iterable[tuple[str, str]]] = {
            "wav.scp": ((e.utt_id, e.audio) for e in examples if e.audio and not e.segment),
            "segments": (
                (e.utt_id, f"{self._number(e.audio)} {e.segment[0]:.6f} {e.segment[1]:.6f}")
                for e in examples
                if e.audio and e.segment
            ),
            "text": ((e.utt_id, e.text) for e in examples if self.with_text is not False),
            "src_text": (
                (e.utt_id, e.src_text) for e in examples if e.src_text and e.src_text.strip(" \t")
            ),
            "utt2task": ((e.utt_id, e.task) for e in examples),
            "utt2lang": ((e.utt_id, e.lang) for e in examples),
            "utt2tgt": ((e.utt_id, e.tgt) for e in examples),
            "utt2spk": ((e.utt_id, e.spk) for e in examples if e.spk),
            "utt2num_samples": (
                (e.utt_id, str(e.num_samples)) for e in examples if e.num_samples is not None
            ),
            "feats.scp": ((e.utt_id, e.feats) for e in examples if e.feats),
        }
        plain = all(utt.isprintable() and " " not in utt for utt in ids)
        for name, lines in rows.items():
            if content := _format_lines(self.path / name, lines, plain):
                self._put(name, content)
        self._has_text = self._has_text or any(e.text.strip(" \t") for e in examples)

    def append(self, directory: str | Path) -> None:
        """Add the examples of a directory that was written with ``with_text``, all behind those before."""
        directory = Path(directory)
        audio: dict[str, str] = {}
        if (directory / "segments").exists():
            names = {value.split(" ")[0] for _, _, value in iter_table(directory / "segments")}
            rows = ((utt, value) for _, utt, value in iter_table(directory / "wav.scp"))
            audio = {utt: value for utt, value in rows if utt in names}
        for name in TABLES:
            path = directory / name
            if not path.exists():
                continue
            if name == "segments":
                for _, utt, value in iter_table(path):
                    recording, span = value.split(" ", 1)
                    self._put(name, f"{utt} {self._number(audio[recording])} {span}\n".encode())
            elif name == "wav.scp" and audio:
                for _, utt, value in iter_table(path):
                    if utt not in audio:
                        self._put(name, checked_line(utt.encode(), value.encode()))
            else:
                self._put(name, b"")
                with path.open("rb") as file:
                    shutil.copyfileobj(file, self._files[name], 1 << 20)
                self._has_text = self._has_text or name == "text"

    def _number(self, audio: str) -> int:
        return self._recordings.setdefault(audio, len(self._recordings))

    def _put(self, name: str, content: bytes) -> None:
        if name not in self._files:
            self._files[name] = (self._aside / name).open("wb", buffering=1 << 18)
        self._files[name].write(content)

    def _finish(self) -> None:
        if self.with_text is None and not self._has_text:
            (self._aside / "text").unlink(missing_ok=True)
        if self._recordings:
            self._name_recordings()
        for name in TABLES:
            table = self._aside / name
            if table.exists():
                sync_file(table)
                table.replace(self.path / name)
            else:  # a table of an earlier run must not stay behind
                (self.path / name).unlink(missing_ok=True)
        sync_directory(self.path)

    def _name_recordings(self) -> None:
        """Name the recordings in the order of their paths, in ``segments`` and ``wav.scp``."""
        ordered = sorted(self._recordings)
        named = [(f"recording_{n:07d}", audio) for n, audio in enumerate(ordered, 1)]
        names = {self._recordings[audio]: name for name, audio in named}
        numbered, whole = self._aside / ".segments", self._aside / ".wav.scp"
        (self._aside / "segments").replace(numbered)
        with (self._aside / "segments").open("wb") as file:
            for _, utt, value in iter_table(numbered):
                number, span = value.split(" ", 1)
                file.write(f"{utt} {names[int(number)]} {span}\n".encode())
        (self._aside / "wav.scp").touch()
        (self._aside / "wav.scp").replace(whole)
        with (self._aside / "wav.scp").open("wb") as file:
            rows = ((utt, audio) for _, utt, audio in iter_table(whole))
            last = ""
            for utt, audio in heapq.merge(rows, named):
                if utt == last:
                    raise DataError(f"{self.path / 'wav.scp'}: the id {utt} is given twice")
                last = utt
                file.write(_format_lines(self.path / "wav.scp", [(utt, audio)], False))


def _format_lines(path: Path, rows: Iterable[tuple[str, str]], plain: bool) -> bytes:
    """Lines of a table; ``plain``: the ids were looked at before.

    Raises:
        DataError: one would not be read again as it is.
    """
    lines = []
    for utt, value in rows:
        if plain and value.isprintable() and (stripped := value.strip(" ")):
            lines.append(f"{utt} {stripped}\n")  # nearly all lines of millions
        elif CONTROL.search(value):
            raise DataError(f"{path}: cannot be written as one line: {utt!r} {value!r}")
        else:
            lines.append(format_line(path, utt, value))
    return "".join(lines).encode()
