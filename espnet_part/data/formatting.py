"""Audio of a data directory in one format: 16 kHz mono files, counted and checked."""

from __future__ import annotations

import functools
import hashlib
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from espnet_part.data.audio import BadAudio, read_with_remarks
from espnet_part.data.datadir import DataDir, Example, Fault, check_share
from espnet_part.data.parallel import run_jobs
from espnet_part.data.sources import audio_state, without_secrets
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.journal import Journal
from espnet_part.sample_rate import SAMPLE_RATE

_JOURNAL = ".formatted.jsonl"


@dataclass(frozen=True, slots=True)
class AudioJob:
    """One piece of audio to be read and, with a ``target``, written.

    Attributes:
        audio, segment: what is read (see `Example`).
        target: the file to write; None only checks and counts.
        key: changes whenever the result may.
    """

    audio: str
    segment: tuple[float, float] | None
    target: str | None
    key: str = ""

    @property
    def place(self) -> str:
        """What the journal knows the result by: of a target, only the last audio written counts."""
        return self.target or self.key


@dataclass(frozen=True, slots=True)
class AudioResult:
    """The number of samples, or why there are none; what is odd about them."""

    samples: int
    bad: str | None = None
    remark: str = ""


_UNDONE = "", AudioResult(0)  # the journal's line for a target that is being replaced


def process_audio(job: AudioJob) -> AudioResult:
    """Read one piece of audio, and write it whole or not at all.

    Raises:
        DataError: the target cannot be written.
    """
    try:
        samples, remarks = read_with_remarks(job.audio, job.segment)
    except BadAudio as error:
        return AudioResult(0, str(error))
    if job.target is not None:
        import soundfile

        target = Path(job.target)
        aside = target.with_name(f".tmp.{target.name}")
        encoded = io.BytesIO()  # libsndfile has its own words, or none, for a full disk
        form = target.suffix.removeprefix(".")
        soundfile.write(encoded, samples, SAMPLE_RATE, format=form, subtype="PCM_16")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(encoded.getbuffer())
            aside.replace(target)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise DataError(f"{target}: cannot be written: {error.strerror}") from None
    return AudioResult(len(samples), remark="; ".join(remarks))


def format_directory(
    in_dir: str | Path,
    out_dir: str | Path,
    audio_format: str = "flac",
    nj: int = 1,
    max_bad_share: float = 0.05,
) -> tuple[list[Example], list[tuple[str, str]]]:
    """Make a data directory whose audio is checked, counted, and of one format.

    Examples that share audio share the new file. What an earlier, interrupted run has done is
    not done again, unless its source has changed since.

    Args:
        in_dir: any data directory.
        out_dir: the new one; audio goes to ``out_dir/audio``. ``bad_audio.tsv`` names what is left
            out and why, ``odd_audio.tsv`` what is kept and should be listened to (silence, channels
            that cancel each other, clipping).
        audio_format: "wav" or "flac" (16 bit, mono, segments cut out), or "copy": the audio stays
            where and as it is.
        nj: number of processes.
        max_bad_share: more unusable utterances than this share are an error.

    Returns:
        The examples of the new directory, and (utterance, reason) of those left out.

    Raises:
        DataError: too many unusable utterances (all are named first); nothing can be written.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    if in_dir.resolve() == out_dir.resolve():
        raise DataError(f"{in_dir}: the new directory must be another one")
    with_text = (in_dir / "text").exists()
    # whether a text may be empty is for those to say who train on it or score with it
    examples, faults = DataDir.load(in_dir, need_text=with_text, empty_text=True)
    for fault in faults:
        if fault.utt_id is None:
            raise DataError(str(fault))
    bad = [(fault.utt_id or "", _describe(fault)) for fault in faults]
    sources, jobs = _plan(examples, out_dir, audio_format)
    results = dict(zip(sources, _run(list(jobs), out_dir, nj, in_dir.name), strict=True))
    formatted = []
    odd: list[tuple[str, str]] = []
    for example in examples:
        if example.audio is None:
            formatted.append(example)
            continue
        source = (example.audio, example.segment)
        result, target = results[source], sources[source].target
        if result.remark:
            odd.append((example.utt_id, result.remark))
        if result.bad is not None:
            bad.append((example.utt_id, result.bad))
            place = without_secrets(example.audio)
            faults.append(Fault("bad audio", place, example.utt_id, result.bad))
        elif target is None:
            formatted.append(replace(example, num_samples=result.samples))
        else:
            formatted.append(
                replace(example, audio=target, segment=None, num_samples=result.samples)
            )
    with atomic_write(out_dir / "bad_audio.tsv") as file:
        file.writelines(f"{utt}\t{reason}\n" for utt, reason in bad)
    with atomic_write(out_dir / "odd_audio.tsv") as file:
        file.writelines(f"{utt}\t{remark}\n" for utt, remark in odd)
    if odd:
        logging.warning(
            "%s: %d utterances have odd audio (first: %s: %s); see %s",
            in_dir,
            len(odd),
            *odd[0],
            out_dir / "odd_audio.tsv",
        )
    check_share(
        faults, len(formatted), max_bad_share, f"{in_dir} (see {out_dir / 'bad_audio.tsv'})"
    )
    DataDir.write(out_dir, formatted, with_text)
    return formatted, bad


def check_audio(examples: Sequence[Example], nj: int = 1, label: str = "audio") -> list[Fault]:
    """Open and read the audio of every example; name what cannot be used."""
    spoken = [example for example in examples if example.audio is not None]
    sources = {(e.audio or "", e.segment): None for e in spoken}
    jobs = [AudioJob(audio, segment, None) for audio, segment in sources]
    results = dict(zip(sources, run_jobs(process_audio, jobs, nj, label), strict=True))
    faults = []
    for example in spoken:
        result = results[example.audio or "", example.segment]
        expected, place = example.num_samples, without_secrets(example.audio or "")
        if result.bad is not None:
            faults.append(Fault("bad audio", place, example.utt_id, result.bad))
        elif expected is not None and abs(result.samples - expected) > max(160, expected // 100):
            detail = f"{expected}, the audio has {result.samples} at 16 kHz"
            faults.append(Fault("wrong number of samples", place, example.utt_id, detail))
    return faults


def _plan(
    examples: Iterable[Example], out_dir: Path, audio_format: str
) -> tuple[dict[tuple[str, tuple[float, float] | None], AudioJob], Iterable[AudioJob]]:
    """One job for every different piece of audio."""
    jobs: dict[tuple[str, tuple[float, float] | None], AudioJob] = {}
    state = functools.cache(audio_state)  # a recording has hundreds of segments
    for example in examples:
        if example.audio is None or (example.audio, example.segment) in jobs:
            continue
        target = None
        if audio_format != "copy":
            # a directory of a million files is slow everywhere: spread them over 256
            digest = hashlib.blake2b(example.utt_id.encode(), digest_size=8).hexdigest()
            name = quote(example.utt_id, safe="")
            if len(name) > 120:  # file systems allow 255 bytes
                name = f"{name[:80]}-{digest}"
            target = str(out_dir / "audio" / digest[:2] / f"{name}.{audio_format}")
        key = f"{example.audio} {example.segment} {state(example.audio)} {SAMPLE_RATE} {target}"
        digest = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
        jobs[example.audio, example.segment] = AudioJob(
            example.audio, example.segment, target, digest
        )
    return jobs, jobs.values()


def _run(jobs: Sequence[AudioJob], out_dir: Path, nj: int, label: str) -> list[AudioResult]:
    """Run what the journal does not hold; good results go into it as they come."""
    journal = Journal(out_dir / _JOURNAL)
    known = _by_place(journal.read())
    new = [
        job
        for job in jobs
        if known.get(job.place, _UNDONE)[0] != job.key
        or (job.target and not Path(job.target).exists())
    ]
    found = dict(known.values())
    with journal.appending() as append:
        # A target is about to be replaced: after a kill its old line would be untrue.
        append((_line(*_UNDONE, job) for job in new if job.place in known), sync=True)
        for job, result in zip(new, run_jobs(process_audio, new, nj, label), strict=True):
            found[job.key] = result
            if result.bad is None:
                append([_line(job.key, result, job)])
    return [found[job.key] for job in jobs]


def _line(key: str, result: AudioResult, job: AudioJob) -> tuple[str, int, str, str]:
    return key, result.samples, result.remark, job.place


def _by_place(lines: Iterable[Any]) -> dict[str, tuple[str, AudioResult]]:
    """The newest key and result by place; what an older version wrote, without a place, is passed over."""
    found: dict[str, tuple[str, AudioResult]] = {}
    for line in lines:
        try:
            key, samples, remark, place = line
            found[str(place)] = str(key), AudioResult(int(samples), remark=str(remark))
        except (ValueError, TypeError):
            continue  # that piece is done again
    return found


def _describe(fault: Fault) -> str:
    return f"{fault.kind}: {fault.detail}" if fault.detail else fault.kind
