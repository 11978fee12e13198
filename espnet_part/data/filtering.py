"""Which utterances are fit for training: limits on duration and text, each with its reason."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from espnet_part.data import tables
from espnet_part.data.datadir import (
    Example,
    ExampleReader,
    ExampleWriter,
    count_bad,
    read_faults,
)
from espnet_part.data.splits import all_splits, made_from
from espnet_part.data.text import text_normalizer
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import TASKS


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept.

    Attributes:
        min_seconds, max_seconds: duration of speech.
        max_chars: characters of a target, and of a text task's source.
        min_chars_per_second, max_chars_per_second: of a target over its speech; beyond them the
            text cannot be that of the audio.
    """

    min_seconds: float = 0.1
    max_seconds: float = 30.0
    max_chars: int = 1000
    min_chars_per_second: float = 0.0
    max_chars_per_second: float = 50.0


def why_not(example: Example, limits: Limits) -> tuple[str, str] | None:
    """The reason to leave an example out, and what was found; None to keep it.

    Raises:
        DataError: speech without a number of samples.
    """
    for name, text in (("text", example.text), ("source text", example.src_text or "")):
        if len(text) > limits.max_chars:
            return f"{name} too long", f"{len(text)} characters"
    if example.audio is None:
        return None
    if example.num_samples is None:
        raise DataError(f"{example.utt_id}: no utt2num_samples; run part_format_data first")
    seconds = example.num_samples / SAMPLE_RATE
    if seconds < limits.min_seconds:
        return "speech too short", f"{seconds:.2f} s"
    if seconds > limits.max_seconds:
        return "speech too long", f"{seconds:.2f} s"
    rate = len(example.text) / seconds
    if rate < limits.min_chars_per_second:
        return "too little text for its speech", f"{rate:.2f} characters/s"
    if rate > limits.max_chars_per_second:
        return "too much text for its speech", f"{rate:.2f} characters/s"
    return None


@dataclass
class Summary:
    """What was kept and what was dropped.

    Attributes:
        kept: examples.
        samples: of their speech, at 16 kHz.
        dropped: utterances.
        reasons: how many rows of ``dropped.tsv`` each reason has.
    """

    kept: int = 0
    samples: int = 0
    dropped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        hours = self.samples / SAMPLE_RATE / 3600
        lines = [f"kept {self.kept} utterances ({hours:.2f} h), dropped {self.dropped}"]
        width = max((len(str(count)) for count in self.reasons.values()), default=1)
        lines += [f"  {count:{width}d}  {reason}" for reason, count in self.reasons.most_common()]
        return "\n".join(lines)


def filter_directory(work: Filtering, out_dir: str | Path, nj: int = 1) -> Summary:
    """Copy a data directory without what is not fit for training.

    ``out_dir/dropped.tsv`` names every utterance left out, the reason and what was found; faulty
    lines of the tables are among them. ``out_dir/text_normalizer`` names the normaliser. The result
    does not depend on ``nj``.

    Args:
        work: which directory, and how.
        nj: number of processes, and of splits (see `splits`).

    Raises:
        DataError: nothing is left, or the directory cannot be read.
        ConfigError: there is no such normaliser.
    """
    in_dir, out_dir = work.data_dir, Path(out_dir)
    if in_dir.resolve() == out_dir.resolve():
        raise DataError(f"{in_dir}: the new directory must be another one")
    with all_splits(work, out_dir, nj) as splits:
        told = [json.loads((split / "told.json").read_text(encoding="utf-8")) for split in splits]
        faults = read_faults(fault for one in told for fault in one["faults"])
        summary = Summary(
            sum(one["kept"] for one in told),
            sum(one["samples"] for one in told),
            count_bad(faults) + sum(sum(one["reasons"].values()) for one in told),
            Counter(fault.kind for fault in faults),
        )
        with atomic_write(out_dir / "dropped.tsv", "wb") as file:
            for fault in faults:
                row = (fault.utt_id or "", fault.kind, fault.detail)
                file.write(("\t".join(row) + "\n").encode())
            for split, one in zip(splits, told, strict=True):
                summary.reasons.update(one["reasons"])
                with (split / "dropped.tsv").open("rb") as rows:
                    shutil.copyfileobj(rows, file)
        if not summary.kept:
            raise DataError(f"{in_dir}: nothing is left; see {out_dir / 'dropped.tsv'}")
        with ExampleWriter(out_dir) as writer:
            for split in splits:
                writer.append(split)
        with atomic_write(out_dir / "text_normalizer") as file:
            file.write(f"{work.normalizer}\n")
    return summary


@dataclass(frozen=True)
class Filtering:
    """What is fit for training of a data directory, split by split.

    Attributes:
        data_dir: the directory.
        limits: hold for the texts as they are after normalisation.
        normalizer: a name of `TEXT_NORMALIZERS`, applied to the targets of tasks that are scored by
            error rates. Translations keep their case and punctuation, which BLEU counts.
    """

    data_dir: Path
    limits: Limits
    normalizer: str = "none"

    @property
    def made_from(self) -> str:
        return made_from([asdict(self.limits), self.normalizer], self.data_dir)

    @property
    def least(self) -> int:
        return tables.RANGE

    def __call__(self, directory: Path, job: int, nj: int) -> None:
        """Do a split: the tables of what is kept, ``dropped.tsv`` without faults, ``told.json``."""
        normalize = text_normalizer(self.normalizer)
        reader = ExampleReader(self.data_dir, job=job, nj=nj)
        if reader.faults:
            raise DataError(str(reader.faults[0]))
        summary = Summary()
        with (
            ExampleWriter(directory, with_text=True) as writer,
            (directory / "dropped.tsv").open("w", encoding="utf-8") as dropped,
        ):
            for examples in reader:
                kept = []
                for example in examples:
                    example, reason = _judge(example, self.limits, normalize)
                    if reason is None:
                        kept.append(example)
                    else:
                        dropped.write("\t".join((example.utt_id, *reason)) + "\n")
                        summary.reasons[reason[0]] += 1
                summary.kept += len(kept)
                summary.samples += sum(e.num_samples or 0 for e in kept)
                writer.add(sorted(kept, key=lambda e: e.utt_id))
        told = {
            "kept": summary.kept,
            "samples": summary.samples,
            "reasons": summary.reasons,
            "faults": reader.found,
        }
        (directory / "told.json").write_text(json.dumps(told, default=asdict), encoding="utf-8")


def _judge(
    example: Example, limits: Limits, normalize: Callable[[str], str]
) -> tuple[Example, tuple[str, str] | None]:
    """An example with its text normalised, and the reason to leave it out."""
    if TASKS[example.task].scored_by != "error_rate":
        return example, why_not(example, limits)
    before, example = example.text, replace(example, text=normalize(example.text))
    reason = why_not(example, limits)
    return example, reason if example.text else ("no text after normalisation", before)
