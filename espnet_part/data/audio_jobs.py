"""Pieces of audio that are read, checked, and written in one format."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.data.audio import BadAudio, read_with_remarks
from espnet_part.data.datadir import Example, Fault
from espnet_part.data.parallel import run_jobs
from espnet_part.data.sources import audio_state, without_secrets
from espnet_part.errors import DataError
from espnet_part.journal import Journal
from espnet_part.sample_rate import SAMPLE_RATE


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


@dataclass(frozen=True, slots=True)
class AudioResult:
    """The number of samples, or why there are none; what is odd about them.

    Attributes:
        written: the state of the target (see `audio_state`) when it was written; "" without one.
    """

    samples: int
    bad: str | None = None
    remark: str = ""
    written: str = ""


def process_audio(job: AudioJob, aside: Path | None = None) -> AudioResult:
    """Read one piece of audio, and write it whole or not at all.

    Args:
        aside: a directory of this process, on the target's file system.

    Raises:
        DataError: the target cannot be written.
    """
    try:
        samples, remarks = read_with_remarks(job.audio, job.segment)
    except BadAudio as error:
        return AudioResult(0, str(error))
    written = ""
    if job.target is not None and aside is not None:
        import soundfile

        target = Path(job.target)
        encoded = io.BytesIO()  # libsndfile has its own words, or none, for a full disk
        form = target.suffix.removeprefix(".")
        soundfile.write(encoded, samples, SAMPLE_RATE, format=form, subtype="PCM_16")
        part = aside / "audio"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(encoded.getbuffer())
            written = audio_state(str(part))
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DataError(f"{target}: cannot be written: {error.strerror}") from None
    return AudioResult(len(samples), remark="; ".join(remarks), written=written)


def run_new(jobs: Iterable[AudioJob], journal: Journal, aside: Path) -> list[AudioResult]:
    """Run what a journal does not hold; good results go into it as they come.

    Args:
        aside: see `process_audio`.

    Raises:
        DataError: a target or the journal cannot be written.
    """
    known = _by_key(journal.read())
    jobs = list(jobs)
    new = [
        job
        for job in jobs
        # a target may have been written since, from other audio
        if job.key not in known
        or (job.target and audio_state(job.target) != known[job.key].written)
    ]
    if new:
        with journal.appending() as append:
            for job in new:
                known[job.key] = result = process_audio(job, aside)
                if result.bad is None:
                    append([(job.key, result.samples, result.remark, result.written)])
    return [known[job.key] for job in jobs]


def _by_key(lines: Iterable[object]) -> dict[str, AudioResult]:
    """The newest result of each key."""
    found: dict[str, AudioResult] = {}
    for line in lines:
        match line:
            case [str(key), int(samples), str(remark), str(written)]:
                found[key] = AudioResult(samples, remark=remark, written=written)
    return found


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
