"""Audio of a data directory in one format: 16 kHz mono files, counted and checked.

Examples of one recording share its new file, whichever split they would fall into by their ids. So audio
is dealt out by where it lies: of 256 parts of a directory a split does some, each by itself.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from espnet_part.data.audio_jobs import AudioJob, run_new
from espnet_part.data.datadir import (
    Example,
    ExampleReader,
    ExampleWriter,
    Fault,
    check_share,
)
from espnet_part.data.sources import audio_state, region, without_secrets
from espnet_part.data.splits import all_splits, made_from, remove_splits
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.journal import Journal
from espnet_part.progress import open_bar
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.sorting import LineSorter, first_field

#: Fewer utterances are not worth a job.
LEAST = 200

_JOURNALS = ".formatted"
_RESULTS = "results"


@dataclass
class Formatted:
    """What came of a directory.

    Attributes:
        examples: of the new one.
        samples: of their speech, at 16 kHz.
        bad: (utterance, reason) of those left out.
    """

    examples: int = 0
    samples: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)


def format_directory(
    in_dir: str | Path,
    out_dir: str | Path,
    audio_format: str = "flac",
    nj: int = 1,
    max_bad_share: float = 0.05,
) -> Formatted:
    """Make a data directory whose audio is checked, counted, and of one format.

    Examples that share audio share the new file. What an earlier, interrupted run has done is
    not done again, unless its source has changed since. The result does not depend on ``nj``.

    Args:
        in_dir: any data directory.
        out_dir: the new one; audio goes to ``out_dir/audio``. ``bad_audio.tsv`` names what is left
            out and why, ``odd_audio.tsv`` what is kept and should be listened to (silence, channels
            that cancel each other, clipping).
        audio_format: "wav" or "flac" (16 bit, mono, segments cut out), or "copy": the audio stays
            where and as it is.
        nj: number of processes, and of splits (see `splits`).
        max_bad_share: more unusable utterances than this share are an error.

    Raises:
        DataError: too many unusable utterances (all are named first); nothing can be written.
    """
    work = Formatting(Path(in_dir), Path(out_dir), audio_format)
    in_dir, out_dir = work.data_dir, work.out_dir
    if in_dir.resolve() == out_dir.resolve():
        raise DataError(f"{in_dir}: the new directory must be another one")
    with all_splits(work, out_dir, nj) as splits:
        try:
            return _join(work, splits, max_bad_share)
        except DataError:  # what was bad is tried again when it has been mended
            remove_splits(out_dir)
            raise


@dataclass(frozen=True)
class Formatting:
    """The audio of a data directory in one format, split by split.

    Attributes:
        data_dir, out_dir, audio_format: see `format_directory`.
    """

    data_dir: Path
    out_dir: Path
    audio_format: str = "flac"

    least = LEAST

    @property
    def made_from(self) -> str:
        return made_from([str(self.out_dir), self.audio_format], self.data_dir)

    @property
    def with_text(self) -> bool:
        return (self.data_dir / "text").exists()

    def read(self) -> ExampleReader:
        """Begin to read the directory.

        Raises:
            DataError: a fault of more than an utterance.
        """
        # whether a text may be empty is for those to say who train on it or score with it
        reader = ExampleReader(self.data_dir, need_text=self.with_text, empty_text=True)
        for fault in reader.faults:
            if fault.utt_id is None:
                raise DataError(str(fault))
        return reader

    def __call__(self, directory: Path, job: int, nj: int) -> None:
        """Do a split: the audio, and ``results``, lines of an id and what came of it, sorted by id."""
        uses, results = LineSorter(directory / ".uses"), LineSorter(directory / ".results")
        count = 0
        for examples in self.read():
            for e in examples:
                if e.audio is not None and (part := _part(e.audio)) % nj == job - 1:
                    piece = json.dumps([e.audio, e.segment])
                    uses.add(f"{part:02x}\t{e.utt_id}\t{piece}\n".encode())
                    count += 1
        name = self.data_dir.name if nj == 1 else f"{self.data_dir.name}, split {job} of {nj}"
        # several bars would not be legible on a terminal, and one stands for all
        hidden = not count or (job > 1 and sys.stderr.isatty())
        with open_bar(name, count, disable=hidden) as bar:
            for number, lines in itertools.groupby(uses.merged(), first_field):
                journal = Journal(self.out_dir / _JOURNALS / f"{number.decode()}.jsonl")
                for found in self._format(lines, journal, directory):
                    results.add(found)
                    bar.update()
        with (directory / _RESULTS).open("wb") as file:
            file.writelines(results.merged())

    def _format(self, uses: Iterable[bytes], journal: Journal, aside: Path) -> Iterator[bytes]:
        """Process the audio of a part, each piece once; yield a line of ``results`` for each use."""
        state = functools.cache(audio_state)  # a recording has hundreds of segments
        jobs: dict[bytes, AudioJob] = {}
        users: list[tuple[bytes, bytes]] = []
        for line in uses:
            _, utt, piece = line.split(b"\t", 2)
            users.append((utt, piece))
            if piece not in jobs:
                audio, segment = json.loads(piece)
                jobs[piece] = self._job(utt.decode(), audio, segment, state(audio))
        results = dict(zip(jobs, run_new(jobs.values(), journal, aside), strict=True))
        for utt, piece in users:
            result, target = results[piece], jobs[piece].target
            value = json.dumps([result.samples, result.bad, result.remark, target])
            yield b"%b\t%b\n" % (utt, value.encode())

    def _job(self, utt: str, audio: str, segment: list[float] | None, state: str) -> AudioJob:
        """What is to be done with audio that this utterance is the first to use."""
        target = None
        if self.audio_format != "copy":
            # a directory of a million files is slow everywhere: spread them over 256
            digest = hashlib.blake2b(utt.encode(), digest_size=8).hexdigest()
            name = quote(utt, safe="")
            if len(name) > 120:  # file systems allow 255 bytes
                name = f"{name[:80]}-{digest}"
            target = str(self.out_dir / "audio" / digest[:2] / f"{name}.{self.audio_format}")
        key = f"{audio} {segment} {state} {SAMPLE_RATE} {target}"
        digest = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
        return AudioJob(audio, (segment[0], segment[1]) if segment else None, target, digest)


def _part(audio: str) -> int:
    """Which of the 256 parts of a directory audio is in: a matter of where it lies alone.

    What lies together in a large file is in one part, since it is read faster so.
    """
    return hashlib.blake2b(region(audio).encode(), digest_size=1).digest()[0]


def _join(work: Formatting, splits: Sequence[Path], max_bad_share: float) -> Formatted:
    """Write the new directory's tables, and what is bad or odd."""
    reader, odd = work.read(), 0
    bad_file, odd_file = (work.out_dir / f"{name}_audio.tsv" for name in ("bad", "odd"))
    formatted = Formatted()
    bad: list[Fault] = []
    with ExampleWriter(work.out_dir, work.with_text) as writer:
        with atomic_write(odd_file) as file:
            for examples in _with_results(reader, splits):
                good = []
                for example, reason, remark in examples:
                    if remark:
                        odd += 1
                        file.write(f"{example.utt_id}\t{remark}\n")
                    if reason is None:
                        good.append(example)
                    else:
                        place = without_secrets(example.audio or "")
                        bad.append(Fault("bad audio", place, example.utt_id, reason))
                writer.add(good)
                formatted.examples += len(good)
                formatted.samples += sum(e.num_samples or 0 for e in good)
        formatted.bad = [(fault.utt_id or "", _describe(fault)) for fault in reader.faults]
        formatted.bad += [(fault.utt_id or "", fault.detail) for fault in bad]
        with atomic_write(bad_file) as file:
            file.writelines(f"{utt}\t{reason}\n" for utt, reason in formatted.bad)
        if odd:
            logging.warning("%s: %d utterances have odd audio; see %s", reader.path, odd, odd_file)
        where = f"{reader.path} (see {bad_file})"
        check_share(reader.faults + bad, formatted.examples, max_bad_share, where)
    return formatted


def _with_results(
    reader: ExampleReader, splits: Sequence[Path]
) -> Iterator[list[tuple[Example, str | None, str]]]:
    """Examples as they will be, sorted by id, why their audio is bad, and what is odd about it."""
    with ExitStack() as stack:
        files = [stack.enter_context((split / _RESULTS).open("rb")) for split in splits]
        lines = heapq.merge(*files, key=first_field)
        for examples in reader:
            found: list[tuple[Example, str | None, str]] = []
            for example in sorted(examples, key=lambda e: e.utt_id):
                if example.audio is None:
                    found.append((example, None, ""))
                    continue
                utt, _, value = next(lines, b"").partition(b"\t")
                if utt.decode() != example.utt_id:
                    raise DataError(f"{reader.path}: was changed while it was read")
                samples, bad, remark, target = json.loads(value)
                if bad is None:
                    example = replace(example, num_samples=samples)
                    if target is not None:
                        example = replace(example, audio=target, segment=None)
                found.append((example, bad, remark))
            yield found


def _describe(fault: Fault) -> str:
    return f"{fault.kind}: {fault.detail}" if fault.detail else fault.kind
