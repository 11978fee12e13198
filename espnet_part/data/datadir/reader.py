"""Reading data directories, some thousands of examples at a time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

from espnet_part.data.datadir.example import Example
from espnet_part.data.datadir.faults import Fault, PlacedFault, in_order
from espnet_part.data.language_codes import is_language, say_language
from espnet_part.data.tables import Cursor, Row, Table, first_rows, split_of
from espnet_part.kaldi import CONTROL, parse_count
from espnet_part.tasks import TASKS

_MENDS = {
    "utt2task": "it names the task of each utterance, such as asr or s2tt; for ASR alone: "
    "awk '{print $1, \"asr\"}' text > utt2task",
    "utt2lang": "it names the language heard or read by its ISO 639 code; for German alone: "
    "awk '{print $1, \"de\"}' utt2task > utt2lang",
    "text": "it holds what is to be written; a test set without references needs none",
}
_COMMAND = (
    "nothing in data is run: run it once into a file, such as `sox IN.sph OUT.flac`, and name that"
)
_FATAL = ("missing directory", "missing file", "unreadable file")

_READ = (
    *("utt2task", "utt2lang", "utt2tgt", "text", "src_text", "wav.scp", "segments"),
    *("utt2spk", "utt2num_samples", "feats.scp"),
)
_MOST_SAMPLES = (1 << 31) - 1  # 37 hours; what follows counts in 32 bits
_FREE = ("text", "src_text")  # tables whose values are texts
_COLUMNS = {"wav.scp": None, "feats.scp": None, "segments": 3}  # after the id; of others 1
# Faults are told in this order: those of each table, ids that are lacking in two and strange in the
# others, segments, examples. The numbers are places in it.
_OTHERS = ("utt2lang", "utt2tgt", "text", "src_text", "segments", "wav.scp", *_READ[7:])
_LACKING = len(_READ)
_STRANGE = _LACKING + 2
_SPANS = _STRANGE + len(_OTHERS)
_EXAMPLES = _SPANS + 1
_AFTER_ALL = 1 << 62  # behind the last line
_ID = itemgetter(0)


class ExampleReader:
    """Reads a directory, some thousands of examples at a time.

    Iterated over once, it yields lists of examples, in the order of ``utt2task``; `faults` are whole when
    it has ended. Memory holds one list and the faults, and of a directory with segments the names of
    the recordings; where ``utt2task`` is not sorted, all that is read.

    Args:
        path, tasks, need_text, empty_text: see `DataDir.load`.
        job, nj: read one of so many splits (1 is the first), a range of ids.

    Attributes:
        faults: what is wrong. From the beginning, what is wrong with whole files or with lines that
            name no utterance.
        ranges: how many lists the whole directory makes.
    """

    def __init__(
        self,
        path: str | Path,
        tasks: Collection[str] | None = None,
        need_text: bool = True,
        empty_text: bool = False,
        job: int = 1,
        nj: int = 1,
    ) -> None:
        self.path = Path(path)
        self.tasks = tuple(TASKS) if tasks is None else tasks
        self.need_text = need_text
        self.empty_text = empty_text or not need_text
        self.sound_kinds: set[tuple[str, str, str, bool, bool]] = set()
        self.found: list[PlacedFault] = []
        self.bad: set[str] = set()  # of the range that is being read
        self.tables: dict[str, Table] = {}
        self.numbers: dict[str, dict[str, int]] = {}  # first lines in tables that are not sorted
        self.recordings: dict[str, str] = {}
        self.ranges = 0
        self.after: str | None = None
        self.ends: list[str | None] = []
        if not self.path.is_dir():
            self.found.append((0, 0, Fault("missing directory", str(self.path))))
            return
        for name in _READ:
            self.look_through(name)
        tasks_table = self.tables.get("utt2task")
        in_order = tasks_table is not None and tasks_table.is_sorted
        ranges: list[str | None] = [*tasks_table.ends, None] if tasks_table and in_order else [None]
        self.ranges = len(ranges)
        self.after, self.ends = split_of(ranges, job, nj)
        self.read_recordings()

    @property
    def faults(self) -> list[Fault]:
        """What is wrong, in the order of the tables and of their lines."""
        return in_order(self.found)

    @property
    def unreadable(self) -> Fault | None:
        """Why no example can be read, where that is so."""
        return next((fault for fault in self.faults if fault.kind in _FATAL), None)

    def __iter__(self) -> Iterator[list[Example]]:
        fatal = self.unreadable is not None
        cursors = {name: Cursor(table.rows()) for name, table in self.tables.items()}
        if self.after is not None:
            for cursor in cursors.values():
                for _ in cursor.until(self.after):
                    pass
        for end in self.ends:
            self.bad = set()
            self.numbers = {name: {} for name in self.numbers}
            shared: dict[str, str] = {}  # ids and values of few kinds, once for all tables
            values = {
                name: self.table(name, cursors[name].until(end) if name in cursors else (), shared)
                for name in _READ
            }
            if not fatal:
                yield self.examples(values)

    def look_through(self, name: str) -> None:
        """Look through a table; say what is wrong with it, and with lines that name no utterance."""
        path, place = self.path / name, _READ.index(name)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if name in ("utt2task", "utt2lang") or (name == "text" and self.need_text):
                self.fault(place, 0, "missing file", name, None, _MENDS.get(name, ""))
            return
        except OSError:
            pass  # named when it is opened
        table = self.tables[name] = Table(path)
        if not table.is_sorted:
            self.numbers[name] = {}
        for utt, number, _, wrong in table.wrong:
            if not utt and wrong is not None:
                self.fault(place, number, wrong[0], f"{name}:{number}", None, wrong[1])
        if table.unreadable is not None:
            self.fault(place, _AFTER_ALL, "unreadable file", name, None, table.unreadable)

    def read_recordings(self) -> None:
        """Read where the recordings are that segments are cut from."""
        if "segments" not in self.tables or "wav.scp" not in self.tables:
            return
        rows = (_columns(value) for _, _, value, _ in first_rows(self.tables["segments"]))
        names = {row.split(" ")[0] for row in rows if row}
        found = first_rows(self.tables["wav.scp"], names)
        self.recordings = {**dict.fromkeys(names, ""), **{utt: audio for utt, _, audio, _ in found}}

    def examples(self, tables: Mapping[str, Mapping[str, str]]) -> list[Example]:
        """The examples of a range of ids, by the tables' values in it."""
        task, lang, text = tables["utt2task"], tables["utt2lang"], tables["text"]
        tgt, source, wavs = tables["utt2tgt"], tables["src_text"], tables["wav.scp"]
        segments, samples = tables["segments"], tables["utt2num_samples"]
        speaker, feats = tables["utt2spk"], tables["feats.scp"]
        for place, name in enumerate(("utt2lang", "text"), _LACKING):
            if name == "text" and not self.need_text:
                continue
            for utt in sorted(
                utt for utt in task if utt not in tables[name] and utt not in self.bad
            ):
                self.fault(place, 0, "unmatched id", name, utt, f"in utt2task but not in {name}")
        for place, name in enumerate(_OTHERS, _STRANGE):
            strange = [utt for utt in tables[name] if utt not in task and utt not in self.bad]
            for utt in sorted(strange):
                if name != "wav.scp" or utt not in self.recordings:
                    self.fault(
                        place, 0, "unmatched id", name, utt, f"in {name} but not in utt2task"
                    )
        spans = {utt: self.span(utt, row) for utt, row in segments.items() if utt in task}
        examples = []
        for utt, kind in task.items():
            if utt in self.bad:
                continue
            audio, segment = spans.get(utt) or (wavs.get(utt), None)
            heard = lang[utt]
            written = tgt.get(utt, "")
            if not written and kind in TASKS:
                written = TASKS[kind].target(heard)
            count = self.samples(utt, samples[utt]) if utt in samples else None
            if self.sound(utt, kind, heard, written, audio, source.get(utt)):
                examples.append(
                    Example(
                        utt,
                        kind,
                        heard,
                        written,
                        text.get(utt, ""),
                        source.get(utt),
                        audio,
                        segment,
                        count,
                        speaker.get(utt),
                        feats.get(utt),
                    )
                )
        if "utt2task" in self.numbers:
            examples.sort(key=lambda e: self.line("utt2task", e.utt_id))
        return examples

    def fault(
        self, place: int, number: int, kind: str, where: str, utt: str | None, detail: str = ""
    ) -> None:
        self.found.append((place, number, Fault(kind, f"{self.path / where}", utt, detail)))
        if utt is not None:
            self.bad.add(utt)

    def table(self, name: str, rows: Iterable[Row], shared: dict[str, str]) -> dict[str, str]:
        """Lines of one table, sorted by id, as {id: rest of the line}, in the order of the file."""
        place, columns, free = _READ.index(name), _COLUMNS.get(name, 1), name in _FREE
        few = name in ("utt2task", "utt2lang", "utt2tgt", "utt2spk")
        table: dict[str, str] = {}
        numbers = self.numbers.get(name)
        share = shared.setdefault
        for utt, number, value, wrong in rows:
            if numbers is not None:
                numbers.setdefault(utt, number)
            if wrong is not None:
                if utt:
                    self.fault(place, number, wrong[0], f"{name}:{number}", utt, wrong[1])
                    table.setdefault(share(utt, utt), "")  # there, though not usable
                continue
            utt = share(utt, utt)
            if few:
                value = share(value, value)
            if utt in table:
                self.fault(place, number, "duplicate id", f"{name}:{number}", utt)
                continue
            table[utt] = value
            # nearly all lines of millions have no more to be asked
            plain = value and value.isprintable() and (free or columns != 1 or " " not in value)
            if not plain or columns == 3:
                table[utt] = self.doubtful_value(name, number, utt, value)
        return table

    def doubtful_value(self, name: str, number: int, utt: str, value: str) -> str:
        """The value as it counts; says what is wrong with it, if anything is."""
        columns, where = _COLUMNS.get(name, 1), f"{name}:{number}"
        say = partial(self.fault, _READ.index(name), number)
        if name in _FREE:
            value = value.strip()
            if not value and not self.empty_text:
                say("empty text", where, utt)
        elif columns is not None:
            value = _columns(value)
            if value.count(" ") != columns - 1 or not value:
                found = len(value.split(" ")) + 1 if value else 1
                say("wrong number of columns", where, utt, f"{found} columns")
                return value
        elif not value:
            say("wrong number of columns", where, utt, "1 columns")
        if CONTROL.search(value):
            marks = sorted({f"U+{ord(c):04X}" for c in CONTROL.findall(value)})
            say("control character", where, utt, " ".join(marks))
        return value

    def span(self, utt: str, row: str) -> tuple[str | None, tuple[float, float] | None]:
        """A line of ``segments`` as audio and (start, end)."""
        parts = row.split(" ")
        say = partial(self.fault, _SPANS, self.line("segments", utt))
        if len(parts) != 3:
            return None, None  # named already
        try:
            start, end = float(parts[1]), float(parts[2])
        except ValueError:
            start = end = math.nan
        if not (0 <= start < end < math.inf):
            say("wrong segment", "segments", utt, f"{parts[1]} to {parts[2]}")
        if not self.recordings.get(parts[0]):
            say("unmatched id", "segments", utt, f"no recording {parts[0]} in wav.scp")
        return self.recordings.get(parts[0]), (start, end)

    def sound(
        self, utt: str, task: str, lang: str, tgt: str, audio: str | None, source: str | None
    ) -> bool:
        """Whether the parts of an example fit together; says what does not."""
        kind = (task, lang, tgt, audio is None, not source)
        if kind not in self.sound_kinds:
            self.check_kind(utt, *kind)
            if utt not in self.bad:
                self.sound_kinds.add(kind)
        if audio is not None and (audio.endswith("|") or audio.startswith("|")):
            self.example_fault("command instead of a file", "wav.scp", utt, _COMMAND)
        return utt not in self.bad

    def check_kind(
        self, utt: str, task: str, lang: str, tgt: str, no_audio: bool, no_source: bool
    ) -> None:
        """The checks of `sound` that have the same outcome for all examples of a kind."""
        if task not in self.tasks:
            self.example_fault(
                "unknown task", "utt2task", utt, f"{task}; known: {', '.join(self.tasks)}"
            )
        for name, code in (("utt2lang", lang), ("utt2tgt", tgt)):
            if not code:
                self.example_fault(
                    "unmatched id", name, utt, f"a {task} example needs a line in {name}"
                )
            elif not is_language(code):
                self.example_fault("unknown language", name, utt, say_language(code))
        if task not in TASKS:
            return
        reads, why_not = TASKS[task], TASKS[task].why_not(lang, tgt) if lang and tgt else ""
        if why_not:
            self.example_fault("languages that the task does not have", "utt2tgt", utt, why_not)
        if reads.speech and no_audio:
            self.example_fault("speech task without audio", "wav.scp", utt, task)
        if not reads.speech and not no_audio:
            self.example_fault("text task with audio", "wav.scp", utt, task)
        if reads.text and no_source:
            self.example_fault("text task without source text", "src_text", utt, task)

    def samples(self, utt: str, value: str) -> int | None:
        """The number of samples, None where it is wrong."""
        if (count := parse_count(value)) and count <= _MOST_SAMPLES:
            return count
        self.example_fault("wrong number of samples", "utt2num_samples", utt, value[:40])
        return None

    def line(self, name: str, utt: str) -> int:
        """The number of an utterance's line in a table that is not sorted; 0 in one that is."""
        return self.numbers[name][utt] if name in self.numbers else 0

    def example_fault(self, kind: str, where: str, utt: str, detail: str) -> None:
        self.fault(_EXAMPLES, self.line("utt2task", utt), kind, where, utt, detail)


class CombinedReader:
    """Reads several directories as one, as `ExampleReader` does; an id in two is a fault in both."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        tasks: Collection[str] | None = None,
        need_text: bool = True,
    ) -> None:
        self._read = [partial(ExampleReader, path, tasks, need_text) for path in paths]
        self._readers = [read() for read in self._read]
        self._twice: list[Fault] = []

    @property
    def faults(self) -> list[Fault]:
        """What is wrong: directory by directory, then ids in two of them."""
        return [fault for reader in self._readers for fault in reader.faults] + self._twice

    def __iter__(self) -> Iterator[list[Example]]:
        first = self._first_of_two()
        for number, reader in enumerate(self._readers):
            for part in reader:
                for example in part if first else ():
                    before = first.get(example.utt_id, number)
                    if before != number:
                        also = f"also in {self._readers[before].path}"
                        where = str(reader.path)
                        self._twice.append(
                            Fault("id in two directories", where, example.utt_id, also)
                        )
                yield [e for e in part if e.utt_id not in first] if first else part

    def _first_of_two(self) -> dict[str, int]:
        """The first directory of each id that is usable in two."""
        tables = [reader.tables.get("utt2task") for reader in self._readers]
        ids = heapq.merge(*(map(_ID, first_rows(table)) for table in tables if table))
        both = {one for one, other in itertools.pairwise(ids) if one == other}
        first: dict[str, int] = {}
        two = set()
        for number, read in enumerate(self._read if both else ()):
            for part in read():
                for utt in (e.utt_id for e in part if e.utt_id in both):
                    if first.setdefault(utt, number) != number:
                        two.add(utt)
        return {utt: first[utt] for utt in two}


def _columns(value: str) -> str:
    """Columns with one space between them."""
    return " ".join(part for part in value.replace("\t", " ").split(" ") if part)
