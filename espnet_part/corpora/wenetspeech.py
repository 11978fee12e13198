"""WenetSpeech: Mandarin speech from the web, in long recordings (https://arxiv.org/abs/2110.03370).

    python -m espnet_part.corpora.wenetspeech --corpus_dir /corpora/WenetSpeech --out data

reads ``WenetSpeech.json``, one recording at a time, and writes ``train`` (subset S, M or L),
``dev``, ``test_net`` and ``test_meeting``. The audio stays in the long files under ``audio/``;
``segments`` says which part of which one an utterance is.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from espnet_part.command import HelpFormatter, command
from espnet_part.corpora.ledger import Ledger
from espnet_part.corpora.lengths import header_seconds
from espnet_part.corpora.writer import DirectoryWriter
from espnet_part.data.datadir import Example
from espnet_part.data.text import clean_spaces
from espnet_part.display import value
from espnet_part.errors import ConfigError, DataError
from espnet_part.inputs import bad_input, open_input
from espnet_part.progress import open_bar
from espnet_part.tasks import ASR

METADATA = "WenetSpeech.json"
TRAIN_SUBSETS = ("S", "M", "L")
#: Name of a subset in the metadata -> directory of it, in ``audio`` and in what is written.
TEST_SUBSETS = {"DEV": "dev", "TEST_NET": "test_net", "TEST_MEETING": "test_meeting"}
OFFICIAL = {
    ("dev", "zh", ASR.name): 13825,
    ("test_net", "zh", ASR.name): 24774,
    ("test_meeting", "zh", ASR.name): 8370,
}

# A segment may end so many seconds after its recording: its end is moved.
_CLAMPED = 0.5
# Marks of what is no word, such as <UNK> or [NOISE].
_TAG = re.compile(r"<[A-Za-z_/|-]+>|\[[A-Z_/|-]+\]")


class Unusable(Exception):
    """A segment that cannot be used: the reason, and what was found."""


def read_recordings(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the recordings of the metadata with their segments, holding one at a time.

    Raises:
        DataError: the file is missing, damaged or cut short, or has no recordings.
    """
    import ijson

    found = False
    with (
        bad_input(DataError, f"{path}: cannot be read"),
        open_input(path) as file,
        open_bar(path.name, path.stat().st_size, "B", scale=True) as bar,
    ):
        try:
            for recording in ijson.items(file, "audios.item", use_float=True):
                bar.update(file.tell() - bar.n)
                found = True
                yield recording
        except (ijson.JSONError, ValueError, OverflowError, RecursionError) as error:
            said = " ".join(str(error).split())[:200]
            raise DataError(f"{path}: not whole or not JSON; download it again: {said}") from None
    if not found:
        raise DataError(f"{path}: has no list `audios` of recordings")


def prepare(corpus_dir: Path, out: Path, subset: str = "M") -> Ledger:
    """Write ``train``, ``dev``, ``test_net`` and ``test_meeting`` into ``out``.

    Raises:
        DataError: the metadata or a directory of audio is missing or damaged, or a subset empty.
    """
    places = {subset: "train", **TEST_SUBSETS}
    missing = [name for name in places.values() if not (corpus_dir / "audio" / name).is_dir()]
    if missing:
        raise DataError(
            f"{corpus_dir}/audio: no directory {', '.join(missing)};"
            f" WenetSpeech has {METADATA} and audio/{{{','.join(places.values())}}}"
        )
    ledger = Ledger("WenetSpeech", license="CC-BY-4.0", official=OFFICIAL)
    ledger.notes.append(f"train: subset {subset}")
    paths: dict[str, str] = {}  # of recordings, by id
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(DirectoryWriter(out / split, ledger))
            for name, split in places.items()
        }
        for number, entry in enumerate(read_recordings(corpus_dir / METADATA)):
            recording = Recording(entry, corpus_dir, paths)
            if recording.fault:
                ledger.note(f"{METADATA}: recording {number + 1}: {recording.fault}")
                continue
            for segment in recording.segments:
                for name in _subsets(segment, writers):
                    example = _example(recording, segment, places[name], ledger)
                    if example is not None:
                        writers[name].add(example, recording.name)
        for name, split in places.items():
            if not ledger.counts[split, "zh", ASR.name].read:
                raise DataError(f"{corpus_dir / METADATA}: no segment is in the subset {name}")
    return ledger


class Recording:
    """A long file and what is known of its length.

    Args:
        entry: its part of the metadata.
        corpus_dir: what its path is relative to.
        paths: recordings read so far, id -> path; this one is added.

    Attributes:
        fault: why none of it can be used; None where it can.
    """

    def __init__(self, entry: Any, corpus_dir: Path, paths: dict[str, str]) -> None:
        self.fault: str | None = None
        self.segments: list[Any] = []
        try:
            self.name, path, segments = str(entry["aid"]), str(entry["path"]), entry["segments"]
        except (TypeError, KeyError):
            self.fault = "no aid, path or segments"
            return
        if not isinstance(segments, list):
            self.fault = f"{self.name}: segments are no list"
            return
        self.segments = segments
        self.path = str(corpus_dir / path)
        self.there = Path(self.path).is_file()
        self.known_twice = paths.setdefault(self.name, path) != path
        self.said = _number(entry.get("duration"))
        self._seconds: float | None = None

    def seconds(self, end: float) -> float | None:
        """Its length, None where unknown. Where ``end`` lies beyond what the metadata say, the
        file's own header decides."""
        if self.said is not None and end <= self.said:
            return self.said
        if self._seconds is None and self.there:
            self._seconds = header_seconds(self.path)
        return self._seconds if self._seconds is not None else self.said


def _example(recording: Recording, segment: Any, split: str, ledger: Ledger) -> Example | None:
    """One utterance, or None where it is left out."""
    ledger.read(split, "zh", ASR.name)
    sid = segment.get("sid")
    try:
        if not isinstance(sid, str) or not sid or sid.split() != [sid]:
            raise Unusable("no id", value(sid))
        if recording.known_twice:
            raise Unusable("two recordings with one id", recording.path)
        if not recording.there:
            raise Unusable("missing audio", recording.path)
        span, changed = _span(recording, segment)
        text, tagged = _text(segment, split)
    except Unusable as fault:
        reason, detail = fault.args
        item = sid if isinstance(sid, str) and sid else recording.name
        ledger.drop(split, "zh", item, reason, detail)
        return None
    for what in (changed, tagged):
        if what:
            ledger.clean(split, "zh", what)
    utt = f"wenetspeech_{sid}-asr"
    return Example(utt, ASR.name, "zh", "zh", text, audio=recording.path, segment=span)


def _span(recording: Recording, segment: Mapping[str, Any]) -> tuple[tuple[float, float], str]:
    """Begin and end in seconds within the recording, and what was changed about them.

    Raises:
        Unusable: the times are those of no audio.
    """
    begin, end = _number(segment.get("begin_time")), _number(segment.get("end_time"))
    if begin is None or end is None or begin < 0:
        detail = f"{value(segment.get('begin_time'))} to {value(segment.get('end_time'))}"
        raise Unusable("times that are none", detail)
    if end <= begin:
        raise Unusable("ends before it begins", f"{begin} to {end} s")
    length = recording.seconds(end)
    if length is None or end <= length:
        beyond = recording.said is not None and end > recording.said
        return (begin, end), "duration in the metadata too short" if beyond else ""
    if begin >= length or end > length + _CLAMPED:
        detail = f"{begin} to {end} s, the recording ends at {length:.2f} s"
        raise Unusable("beyond the end of the recording", detail)
    return (begin, length), "end moved to that of the recording"


def _text(segment: Mapping[str, Any], split: str) -> tuple[str, str]:
    """The transcript, and what was changed about it.

    Marks of what is no word make an utterance useless for training. A test keeps the utterance
    without the mark, as scoring by Whisper's normalisers takes it, unless there is nothing else.

    Raises:
        Unusable: there is no text to be used.
    """
    written = segment.get("text")
    text = clean_spaces(written) if isinstance(written, str) else ""
    if not text:
        raise Unusable("empty text", "" if written is None else value(written, 80))
    if not _TAG.search(text):
        return text, "odd spaces" if text != written else ""
    words = clean_spaces(_TAG.sub(" ", text))
    if split == "train" or not words:
        raise Unusable("tag in the text", text)
    return words, "tag taken out of the text"


def _subsets(segment: Any, wanted: Mapping[str, Any]) -> list[str]:
    """The wanted subsets that a segment is in."""
    subsets = segment.get("subsets") if isinstance(segment, dict) else None
    return [name for name in wanted if name in subsets] if isinstance(subsets, list) else []


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.corpora.wenetspeech",
        description="Makes data/train, data/dev, data/test_net and data/test_meeting of "
        "WenetSpeech (Mandarin, ASR). The long opus files stay where they are; utterances are "
        "segments of them. What is left out is named with its reason in dropped.tsv; corpus.md "
        "has the totals beside the official ones.",
        epilog="example: python -m espnet_part.corpora.wenetspeech "
        "--corpus_dir /corpora/WenetSpeech --subset L --out data",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--corpus_dir",
        required=True,
        type=Path,
        metavar="DIR",
        help=f"holds {METADATA} and audio/{{train,dev,test_net,test_meeting}}",
    )
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR", help="made in it")
    parser.add_argument(
        "--subset",
        choices=TRAIN_SUBSETS,
        default="M",
        help="what is trained on: S is 100 h, M 1000 h, L 10005 h",
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    if not args.corpus_dir.is_dir():
        raise ConfigError(f"--corpus_dir {args.corpus_dir}: no such directory")
    print(prepare(args.corpus_dir.resolve(), args.out, args.subset).summary())


if __name__ == "__main__":
    main()
