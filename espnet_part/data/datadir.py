"""Data directories: one-line-per-utterance tables (Kaldi's layout) to and from `Example` records.

Tables: ``wav.scp`` (an entry of `espnet_part.data.sources`; a recording where ``segments`` is given),
``segments``, ``text`` (the target), ``utt2task``, ``utt2lang`` (language heard or read),
``utt2tgt`` (language written; may be left out where a task writes the one it reads), ``src_text``
(what tasks read that read text),
``utt2spk``, ``utt2num_samples`` (at 16 kHz) and ``feats.scp`` (cached encoder output).
Lines may come in any order. What is wrong is gathered, never raised line by line.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.data.language_codes import is_language, say_language
from espnet_part.errors import DataError
from espnet_part.kaldi import CONTROL, iter_table, parse_count, write_table
from espnet_part.tasks import TASKS

TABLES = (
    *("utt2task", "utt2lang", "utt2tgt", "text", "src_text", "wav.scp", "segments"),
    *("utt2num_samples", "utt2spk", "feats.scp"),
)
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


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance of one task.

    Attributes:
        utt_id: unique over all directories of a run.
        task: a key of `tasks.TASKS`.
        lang: language heard or read, ISO 639-1/3.
        tgt: language written.
        text: the target; empty where a test set has no reference, or where nothing is said.
        src_text: what a task reads that reads text; else a transcript, where there is one.
        audio: an entry of ``wav.scp``; None for a task without speech.
        segment: (start, end) in seconds within ``audio``; None for the whole of it.
        num_samples: length at 16 kHz, None where unknown.
        spk: speaker.
        feats: ``path.ark:offset`` of the encoder's cached output.
    """

    utt_id: str
    task: str
    lang: str
    tgt: str
    text: str
    src_text: str | None = None
    audio: str | None = None
    segment: tuple[float, float] | None = None
    num_samples: int | None = None
    spk: str | None = None
    feats: str | None = None

    @property
    def transcript(self) -> str | None:
        """What is said, where that is known and the task reads nothing but speech."""
        task = TASKS[self.task]
        if task.transcribes:
            return self.text
        return self.src_text if task.speech and not task.text else None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a data directory.

    Attributes:
        kind: what is wrong, the same words for every fault of its kind.
        where: file and line, or file.
        utt_id: the utterance that is left out because of it; None where no line is to blame.
        detail: what was found.
    """

    kind: str
    where: str
    utt_id: str | None = None
    detail: str = ""

    def __str__(self) -> str:
        who = f" {self.utt_id}:" if self.utt_id else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.where}:{who} {self.kind}{detail}"


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
        return _Reader(Path(path), tasks, need_text, empty_text or not need_text).read()

    @staticmethod
    def combine(
        paths: Sequence[str | Path],
        tasks: Collection[str] | None = None,
        need_text: bool = True,
    ) -> tuple[list[Example], list[Fault]]:
        """Read several directories as one; an id that two of them hold is a fault in both."""
        loaded = [DataDir.load(path, tasks, need_text) for path in paths]
        faults = [fault for _, found in loaded for fault in found]
        seen: dict[str, int] = {}
        twice: set[str] = set()
        for number, (examples, _) in enumerate(loaded):
            for example in examples:
                first = seen.setdefault(example.utt_id, number)
                if first != number:
                    twice.add(example.utt_id)
                    faults.append(
                        Fault(
                            "id in two directories",
                            str(paths[number]),
                            example.utt_id,
                            f"also in {paths[first]}",
                        )
                    )
        return [e for examples, _ in loaded for e in examples if e.utt_id not in twice], faults

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
        path = Path(path)
        ordered = sorted(examples, key=lambda e: e.utt_id)
        for one, other in itertools.pairwise(ordered):
            if one.utt_id == other.utt_id:
                raise DataError(f"{path}: the id {one.utt_id} is given twice")
        # A cut piece needs a recording's name in wav.scp; a whole file keeps the utterance's.
        cut = sorted({e.audio for e in ordered if e.audio and e.segment})
        recordings = {audio: f"recording_{n:07d}" for n, audio in enumerate(cut, 1)}
        if with_text is None:
            with_text = any(e.text.strip(" \t") for e in ordered)
        # generators: of millions of lines, those of one table at a time
        tables: dict[str, Iterable[tuple[str, str]]] = {
            "wav.scp": sorted(
                [(name, audio) for audio, name in recordings.items()]
                + [(e.utt_id, e.audio) for e in ordered if e.audio and not e.segment]
            ),
            "segments": (
                (e.utt_id, f"{recordings[e.audio]} {e.segment[0]:.6f} {e.segment[1]:.6f}")
                for e in ordered
                if e.audio and e.segment
            ),
            "text": ((e.utt_id, e.text) for e in ordered if with_text),
            "src_text": (
                (e.utt_id, e.src_text) for e in ordered if e.src_text and e.src_text.strip(" \t")
            ),
            "utt2task": ((e.utt_id, e.task) for e in ordered),
            "utt2lang": ((e.utt_id, e.lang) for e in ordered),
            "utt2tgt": ((e.utt_id, e.tgt) for e in ordered),
            "utt2spk": ((e.utt_id, e.spk) for e in ordered if e.spk),
            "utt2num_samples": (
                (e.utt_id, str(e.num_samples)) for e in ordered if e.num_samples is not None
            ),
            "feats.scp": ((e.utt_id, e.feats) for e in ordered if e.feats),
        }
        for name, lines in tables.items():
            rows = list(lines)
            if rows or name in ("utt2task", "utt2lang", "utt2tgt"):
                for utt, value in rows:
                    if not value.isprintable() and CONTROL.search(value):
                        raise DataError(
                            f"{path / name}: cannot be written as one line: {utt!r} {value!r}"
                        )
                write_table(path / name, rows)
            else:  # a table of an earlier run must not stay behind
                (path / name).unlink(missing_ok=True)


def report_faults(faults: Sequence[Fault], shown: int = 3) -> str:
    """Count faults by kind, each with its first few cases; one line a kind and a case."""
    lines = []
    for kind, count in Counter(fault.kind for fault in faults).most_common():
        lines.append(f"{count} x {kind}")
        cases = [fault for fault in faults if fault.kind == kind][:shown]
        lines += [f"    {case}" for case in cases]
        if count > shown:
            lines.append(f"    … and {count - shown} more")
    return "\n".join(lines)


def count_bad(faults: Sequence[Fault]) -> int:
    """How many utterances are left out."""
    return len({fault.utt_id for fault in faults if fault.utt_id})


def check_share(
    faults: Sequence[Fault], examples: Sequence[Example], max_bad_share: float, where: str
) -> None:
    """Stop when too much of a data set is bad.

    Raises:
        DataError: no usable example is left, or more than ``max_bad_share`` of all are faulty.
    """
    bad = count_bad(faults)
    total = bad + len(examples)
    if not examples or bad > max_bad_share * total:
        limit = f", more than --max_bad_share {max_bad_share:g} allows" if examples else ""
        raise DataError(
            f"{where}: {bad} of {total} utterances are unusable{limit}: "
            f"{_summary(faults) or 'the directory is empty'}"
        )


def _summary(faults: Sequence[Fault]) -> str:
    """Count faults by kind, each with its first case, in one line."""
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.kind, fault)
    parts = []
    for kind, count in Counter(fault.kind for fault in faults).most_common():
        case = first[kind]
        such = ", e.g." if count > 1 else ":"
        said = [case.where, case.utt_id, case.detail]
        parts.append(f"{count} x {kind}{such} {': '.join(word for word in said if word)}")
    return "; ".join(parts)


class _Reader:
    """Reads one directory; `faults` and `bad` fill up on the way."""

    def __init__(
        self, path: Path, tasks: Collection[str] | None, need_text: bool, empty_text: bool
    ):
        self.path = path
        self.tasks = tuple(TASKS) if tasks is None else tasks
        self.need_text = need_text
        self.empty_text = empty_text
        self.faults: list[Fault] = []
        self.bad: set[str] = set()
        self.sound_kinds: set[tuple[str, str, str, bool, bool]] = set()
        self.shared: dict[str, str] = {}  # ids and values of few kinds, once for all tables

    def read(self) -> tuple[list[Example], list[Fault]]:
        if not self.path.is_dir():
            self.faults.append(Fault("missing directory", str(self.path)))
            return [], self.faults
        task = self.table("utt2task", required=True)
        lang = self.table("utt2lang", required=True)
        tgt = self.table("utt2tgt")
        text = self.table("text", free=True, required=self.need_text)
        source = self.table("src_text", free=True)
        wavs = self.table("wav.scp", columns=None)
        segments = self.table("segments", columns=3)
        speaker = self.table("utt2spk")
        samples = self.table("utt2num_samples")
        feats = self.table("feats.scp", columns=None)

        if any(fault.kind in _FATAL for fault in self.faults):
            return [], self.faults
        needed = {"utt2lang": lang}
        if self.need_text:
            needed["text"] = text
        for name, table in needed.items():
            for utt in sorted(utt for utt in task if utt not in table and utt not in self.bad):
                self.fault("unmatched id", name, utt, f"in utt2task but not in {name}")
        recordings = {row.split(" ")[0] for row in segments.values() if row}
        for name, table in {
            "utt2lang": lang,
            "utt2tgt": tgt,
            "text": text,
            "src_text": source,
            "segments": segments,
            "wav.scp": wavs,
            "utt2spk": speaker,
            "utt2num_samples": samples,
            "feats.scp": feats,
        }.items():
            strange = [utt for utt in table if utt not in task and utt not in self.bad]
            for utt in sorted(strange):
                if table is not wavs or utt not in recordings:
                    self.fault("unmatched id", name, utt, f"in {name} but not in utt2task")

        spans = {utt: self.span(utt, row, wavs) for utt, row in segments.items() if utt in task}
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
        return examples, self.faults

    def fault(self, kind: str, where: str, utt: str | None, detail: str = "") -> None:
        self.faults.append(Fault(kind, f"{self.path / where}", utt, detail))
        if utt is not None:
            self.bad.add(utt)

    def table(
        self, name: str, columns: int | None = 1, free: bool = False, required: bool = False
    ) -> dict[str, str]:
        """One file as {id: rest of the line}; ``columns`` counts the values after the id."""
        path = self.path / name
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if required:
                self.fault("missing file", name, None, _MENDS.get(name, ""))
            return {}
        except OSError:
            pass  # named when it is opened

        def bad_line(number: int, utt: str, what: str, detail: str) -> None:
            self.fault(what, f"{name}:{number}", utt or None, detail)
            if utt:
                table.setdefault(share(utt, utt), "")  # there, though not usable

        few = name in ("utt2task", "utt2lang", "utt2tgt", "utt2spk")
        table: dict[str, str] = {}
        share = self.shared.setdefault
        try:
            for number, utt, value in iter_table(path, bad_line):
                utt = share(utt, utt)
                if few:
                    value = share(value, value)
                if utt in table:
                    self.fault("duplicate id", f"{name}:{number}", utt)
                    continue
                table[utt] = value
                # nearly all lines of millions have no more to be asked
                plain = value and value.isprintable() and (free or columns != 1 or " " not in value)
                if not plain or columns == 3:
                    table[utt] = self.doubtful_value(f"{name}:{number}", utt, value, columns, free)
        except DataError as error:
            self.fault("unreadable file", name, None, str(error).removeprefix(f"{path}: "))
        return table

    def doubtful_value(
        self, where: str, utt: str, value: str, columns: int | None, free: bool
    ) -> str:
        """The value as it counts; says what is wrong with it, if anything is."""
        if free:
            value = value.strip()
            if not value and not self.empty_text:
                self.fault("empty text", where, utt)
        elif columns is not None:
            parts = value.replace("\t", " ").split(" ")
            value = " ".join(part for part in parts if part)
            if value.count(" ") != columns - 1 or not value:
                found = len(value.split(" ")) + 1 if value else 1
                self.fault("wrong number of columns", where, utt, f"{found} columns")
                return value
        elif not value:
            self.fault("wrong number of columns", where, utt, "1 columns")
        if CONTROL.search(value):
            marks = sorted({f"U+{ord(c):04X}" for c in CONTROL.findall(value)})
            self.fault("control character", where, utt, " ".join(marks))
        return value

    def span(
        self, utt: str, row: str, wavs: Mapping[str, str]
    ) -> tuple[str | None, tuple[float, float] | None]:
        """A line of ``segments`` as audio and (start, end)."""
        parts = row.split(" ")
        if len(parts) != 3:
            return None, None  # named already
        try:
            start, end = float(parts[1]), float(parts[2])
        except ValueError:
            start = end = math.nan
        if not (0 <= start < end < math.inf):
            self.fault("wrong segment", "segments", utt, f"{parts[1]} to {parts[2]}")
        if not wavs.get(parts[0]):
            self.fault("unmatched id", "segments", utt, f"no recording {parts[0]} in wav.scp")
        return wavs.get(parts[0]), (start, end)

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
            self.fault("command instead of a file", "wav.scp", utt, _COMMAND)
        return utt not in self.bad

    def check_kind(
        self, utt: str, task: str, lang: str, tgt: str, no_audio: bool, no_source: bool
    ) -> None:
        """The checks of `sound` that have the same outcome for all examples of a kind."""
        if task not in self.tasks:
            self.fault("unknown task", "utt2task", utt, f"{task}; known: {', '.join(self.tasks)}")
        for name, code in (("utt2lang", lang), ("utt2tgt", tgt)):
            if not code:
                self.fault("unmatched id", name, utt, f"a {task} example needs a line in {name}")
            elif not is_language(code):
                self.fault("unknown language", name, utt, say_language(code))
        if task not in TASKS:
            return
        reads, why_not = TASKS[task], TASKS[task].why_not(lang, tgt) if lang and tgt else ""
        if why_not:
            self.fault("languages that the task does not have", "utt2tgt", utt, why_not)
        if reads.speech and no_audio:
            self.fault("speech task without audio", "wav.scp", utt, task)
        if not reads.speech and not no_audio:
            self.fault("text task with audio", "wav.scp", utt, task)
        if reads.text and no_source:
            self.fault("text task without source text", "src_text", utt, task)

    def samples(self, utt: str, value: str) -> int | None:
        """The number of samples, None where it is wrong."""
        if count := parse_count(value):
            return count
        self.fault("wrong number of samples", "utt2num_samples", utt, value[:40])
        return None
