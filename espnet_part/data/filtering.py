"""Which utterances are fit for training: limits on duration and text, each with its reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_part.data.datadir import DataDir, Example
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


def filter_directory(
    in_dir: str | Path, out_dir: str | Path, limits: Limits, normalizer: str = "none"
) -> tuple[list[Example], list[tuple[str, str, str]]]:
    """Copy a data directory without what is not fit for training.

    ``out_dir/dropped.tsv`` names every utterance left out, the reason and what was found; faulty
    lines of the tables are among them. ``out_dir/text_normalizer`` names the normaliser.

    Args:
        limits: hold for the texts as they are after normalisation.
        normalizer: a name of `TEXT_NORMALIZERS`, applied to the targets of tasks that are scored by
            error rates. Translations keep their case and punctuation, which BLEU counts.

    Returns:
        The examples kept, and the rows of ``dropped.tsv``.

    Raises:
        DataError: nothing is left, or the directory cannot be read.
        ConfigError: there is no such normaliser.
    """
    normalize = text_normalizer(normalizer)
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    if in_dir.resolve() == out_dir.resolve():
        raise DataError(f"{in_dir}: the new directory must be another one")
    examples, faults = DataDir.load(in_dir)
    for fault in faults:
        if fault.utt_id is None:
            raise DataError(str(fault))
    dropped = [(fault.utt_id or "", fault.kind, fault.detail) for fault in faults]
    kept = []
    for example in examples:
        reason: tuple[str, str] | None
        if TASKS[example.task].scored_by == "error_rate":
            before, example = example.text, replace(example, text=normalize(example.text))
            reason = why_not(example, limits)
            if not example.text:
                reason = ("no text after normalisation", before)
        else:
            reason = why_not(example, limits)
        if reason is None:
            kept.append(example)
        else:
            dropped.append((example.utt_id, *reason))
    with atomic_write(out_dir / "dropped.tsv") as file:
        file.writelines("\t".join(row) + "\n" for row in dropped)
    if not kept:
        raise DataError(f"{in_dir}: nothing is left; see {out_dir / 'dropped.tsv'}")
    DataDir.write(out_dir, kept)
    with atomic_write(out_dir / "text_normalizer") as file:
        file.write(f"{normalizer}\n")
    return kept, dropped


def summarise(kept: Sequence[Example], dropped: Sequence[tuple[str, str, str]]) -> str:
    """What was kept and what was dropped, one line a reason."""
    hours = math.fsum(e.num_samples or 0 for e in kept) / SAMPLE_RATE / 3600
    lost = {utt for utt, _, _ in dropped}
    lines = [f"kept {len(kept)} utterances ({hours:.2f} h), dropped {len(lost)}"]
    counts = Counter(reason for _, reason, _ in dropped)
    width = max((len(str(count)) for count in counts.values()), default=1)
    lines += [f"  {count:{width}d}  {reason}" for reason, count in counts.most_common()]
    return "\n".join(lines)
