"""Data directories for ESPnet's ASR and ST tasks, selected from directories that hold all tasks.

A stock task reads one directory of one task. The language written comes first in every text, as
in ESPnet's multilingual recipes: ``utt1 <de> Guten Tag.``; one model then serves all languages and
directions.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_part.command import HelpFormatter, command
from espnet_part.data.audio import BadAudio, open_sound
from espnet_part.data.datadir import DataDir, Example, check_share, report_faults
from espnet_part.data.formatting import format_directory
from espnet_part.data.sources import is_url, without_secrets
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.kaldi import write_table
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR, S2TT, TASKS

#: ESPnet's name of a task, as in ``espnet2.bin.asr_train`` -> the task of its examples.
ESPNET_TASKS = {"asr": ASR, "st": S2TT}
_PROBED = 100  # audio files whose header is looked at


@dataclass(frozen=True, slots=True)
class Selection:
    """What one baseline reads.

    Attributes:
        examples: sorted by id, each with audio.
        sources: id -> (language heard, transcript) for ST with source texts; else empty.
        dropped: (id, why) of examples that the task cannot use.
    """

    examples: list[Example]
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)


def language_token(lang: str) -> str:
    """Return the token that stands first in a text of a language."""
    return f"<{lang}>"


def select(examples: Iterable[Example], task: str, training: bool, where: str) -> Selection:
    """Choose what ESPnet's ``task`` (a key of `ESPNET_TASKS`) reads.

    Training needs texts, and the ST baseline's CTC branch the transcripts as well: an example's own
    ``src_text``, or what an ASR example says of the same audio. Decoding takes all of the task.

    Raises:
        DataError: there is no example of the task, or an id is given twice.
    """
    examples = list(examples)
    name = ESPNET_TASKS[task].name
    chosen = [e for e in examples if e.task == name]
    if not chosen:
        found = ", ".join(sorted({e.task for e in examples})) or "nothing"
        raise DataError(f"{where}: no example of the task {name} (there is {found})")
    for utt, count in Counter(e.utt_id for e in chosen).items():
        if count > 1:
            raise DataError(f"{where}: the id {utt} is given twice")
    selection = Selection([])
    transcripts = {
        (e.audio, e.segment): e.text for e in examples if TASKS[e.task].transcribes and e.text
    }
    for example in sorted(chosen, key=lambda e: e.utt_id):
        if example.audio is None:
            selection.dropped.append((example.utt_id, "no audio"))
            continue
        if training and not example.text:
            selection.dropped.append((example.utt_id, "no text"))
            continue
        if training and ESPNET_TASKS[task].writes == "other":
            source = example.src_text or transcripts.get((example.audio, example.segment))
            if not source:
                selection.dropped.append((example.utt_id, "no source text"))
                continue
            selection.sources[example.utt_id] = (example.lang, source)
        selection.examples.append(example)
    if not selection.examples:
        reasons = ", ".join(sorted({reason for _, reason in selection.dropped}))
        raise DataError(f"{where}: no usable example of the task {name}: {reasons}")
    return selection


def why_unreadable(examples: Sequence[Example]) -> str | None:
    """Say why ESPnet's loader would go wrong: it neither cuts segments nor resamples nor mixes down.

    Names are looked at, and the headers of up to 100 files, spread over the set.

    Returns:
        What is wrong with the first bad example; None where all is well.
    """
    for example in examples:
        if example.segment is not None:
            return f"{example.utt_id} is a segment of a longer file"
        if is_url(str(example.audio)):
            return f"{without_secrets(str(example.audio))} is not on this machine"
        if Path(str(example.audio)).suffix not in (".wav", ".flac"):
            return f"{example.audio} is neither wav nor flac"
    for example in examples[:: max(1, len(examples) // _PROBED)]:
        try:
            with open_sound(Path(str(example.audio))) as sound:
                rate, channels = sound.samplerate, sound.channels
        except BadAudio as error:
            return f"{example.audio} cannot be read: {error}"
        if (rate, channels) != (SAMPLE_RATE, 1):
            return f"{example.audio} has {rate} Hz and {channels} channels"
    return None


def load(
    path: Path, formatted_dir: Path, decoding: bool, max_bad_share: float, nj: int
) -> list[Example]:
    """Read a directory; its audio is first made 16 kHz flac where ESPnet cannot read it as it is.

    Raises:
        DataError: too much of it is faulty.
    """
    examples, faults = DataDir.load(path, need_text=not decoding)
    if faults:
        print(report_faults(faults), file=sys.stderr)
    check_share(faults, len(examples), max_bad_share, str(path))
    reason = why_unreadable([e for e in examples if e.audio is not None])
    if reason is None:
        return examples
    out = formatted_dir / str(path).strip("./").replace("/", "_")
    print(f"{path}: {reason}: its audio is written to {out} as 16 kHz flac")
    formatted = format_directory(path, out, "flac", nj, max_bad_share)
    if formatted.bad:
        print(f"{len(formatted.bad)} utterances have bad audio; see {out / 'bad_audio.tsv'}")
    return DataDir.load(out, need_text=not decoding, empty_text=True)[0]


def write(path: Path, selection: Selection) -> None:
    """Write ``wav.scp``, ``text``, ``utt2lang``, ``utt2tgt`` and, with sources, ``src_text``."""
    examples = selection.examples
    tables = {
        "wav.scp": [(e.utt_id, e.audio or "") for e in examples],
        "text": [(e.utt_id, f"{language_token(e.tgt)} {e.text}") for e in examples],
        "utt2lang": [(e.utt_id, e.lang) for e in examples],
        "utt2tgt": [(e.utt_id, e.tgt) for e in examples],
    }
    if selection.sources:
        tables["src_text"] = [
            (utt, f"{language_token(lang)} {text}")
            for utt, (lang, text) in selection.sources.items()
        ]
    for name, rows in tables.items():
        write_table(path / name, rows)
    with atomic_write(path / "dropped.tsv") as file:
        file.writelines(f"{utt}\t{reason}\n" for utt, reason in selection.dropped)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m espnet_part.baseline.directories",
        description="Selects from data directories what ESPnet's stock ASR or ST task reads, with "
        "the language written as the first token of each text.",
        epilog="example: python -m espnet_part.baseline.directories --task st "
        "--in_dir dump/raw/train --out_dir dump/espnet/st/train",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--task", required=True, choices=sorted(ESPNET_TASKS))
    parser.add_argument("--in_dir", required=True, nargs="+", metavar="DIR", type=Path)
    parser.add_argument("--out_dir", required=True, metavar="DIR", type=Path)
    parser.add_argument(
        "--formatted_dir",
        type=Path,
        default=Path("dump/espnet/audio"),
        metavar="DIR",
        help="where audio goes that ESPnet cannot read as it is (mp3, segments, other rates)",
    )
    parser.add_argument("--nj", type=int, default=1, help="processes that write such audio")
    parser.add_argument(
        "--decoding", action="store_true", help="a test set: texts are not needed, all is kept"
    )
    parser.add_argument(
        "--max_bad_share", type=float, default=0.05, help="largest share of faulty utterances"
    )
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    args = get_parser().parse_args(cmd)
    where = ", ".join(map(str, args.in_dir))
    share, nj = args.max_bad_share, args.nj
    loaded = [load(path, args.formatted_dir, args.decoding, share, nj) for path in args.in_dir]
    examples = [example for directory in loaded for example in directory]
    selection = select(examples, args.task, not args.decoding, where)
    write(args.out_dir, selection)
    hours = sum(e.num_samples or 0 for e in selection.examples) / SAMPLE_RATE / 3600
    task = ESPNET_TASKS[args.task].name
    summary = f"{len(selection.examples)} examples of {task}, {hours:.2f} h, from {where}"
    with atomic_write(args.out_dir / "summary.txt") as file:
        file.write(f"{summary}\n")
    print(f"{args.out_dir}: {summary}")
    if selection.dropped:
        print(
            f"{len(selection.dropped)} are left out; see {args.out_dir / 'dropped.tsv'}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
