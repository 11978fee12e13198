"""More of little speech: copies at other speeds, and short utterances joined into longer ones."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.data.datadir import DataDir, Example
from espnet_part.data.parallel import run_jobs
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.scripts import parts_words
from espnet_part.tasks import TASKS

#: Between two utterances that are joined (s).
PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class _NewAudio:
    """Recordings, one behind the other, at a speed, to be written to ``target``."""

    examples: tuple[Example, ...]
    factor: float
    target: str


def read_factors(text: str) -> list[float]:
    """Factors of speed as ESPnet's recipes write them: "0.9 1.0 1.1", or none at all.

    Raises:
        ConfigError: no speeds, or none that is 1.0, the recordings as they are.
    """
    try:
        factors = [float(word) for word in text.split()]
    except ValueError:
        raise ConfigError(f"speed_perturb_factors: {text!r} is no list of numbers") from None
    for factor in factors:
        if not 0.5 <= factor <= 2.0:
            raise ConfigError(f"speed_perturb_factors: {factor:g} is not between 0.5 and 2")
    if factors and 1.0 not in factors:
        raise ConfigError("speed_perturb_factors: must hold 1.0, the recordings as they are")
    if len({f"{factor:g}" for factor in factors}) < len(factors):  # so copies are named
        raise ConfigError("speed_perturb_factors: names a factor twice")
    return factors


def augment_directory(
    in_dir: str | Path,
    out_dir: str | Path,
    factors: Sequence[float] = (),
    join_seconds: float = 0.0,
    nj: int = 1,
    seed: int = 0,
) -> list[Example]:
    """Make a data directory with more speech than another; the examples of that one are in it unchanged.

    A copy at speed 0.9 is called sp0.9-UTT, as ESPnet calls it, of the speaker sp0.9-SPK, and has its
    pitch changed with its speed (ESPnet's and Kaldi's perturbation: sox's `speed`). Joined utterances are
    of one speaker and one language, transcribed, each in one join, at its own speed.

    Args:
        in_dir: with utt2num_samples, as `part_format_data` leaves it. out_dir: the new one; new audio goes
            to ``out_dir/audio``.
        factors: of speed, see `read_factors`.
        join_seconds: utterances are joined as long as the result is no longer than this; 0: none. Those
            without a speaker (utt2spk) are not joined.
        nj: number of processes. seed: of what is joined with what.

    Returns:
        The examples of the new directory.

    Raises:
        DataError: unusable data, or nothing can be written.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    if in_dir.resolve() == out_dir.resolve():
        raise DataError(f"{in_dir}: the new directory must be another one")
    examples, faults = DataDir.load(in_dir, empty_text=True)
    if faults:
        raise DataError(f"{in_dir}: {faults[0]}")
    jobs: dict[str, _NewAudio] = {}
    new = [
        *_perturb(examples, factors, out_dir, jobs),
        *_join(examples, join_seconds, out_dir, jobs, seed),
    ]
    twice = {e.utt_id for e in examples} & {e.utt_id for e in new}
    if twice:
        raise DataError(f"{in_dir}: has {min(twice)} already: was it made by this command?")
    lengths = dict(zip(jobs, run_jobs(_write, list(jobs.values()), nj, "new audio"), strict=True))
    found = examples + [replace(e, num_samples=lengths[e.audio or ""]) for e in new]
    DataDir.write(out_dir, found)
    return found


def _perturb(
    examples: Sequence[Example], factors: Sequence[float], out_dir: Path, jobs: dict[str, _NewAudio]
) -> Iterable[Example]:
    """Copies of all speech at all speeds but its own; tasks that share a recording share the copy."""
    for factor in (factor for factor in factors if factor != 1.0):
        targets: dict[tuple[str, tuple[float, float] | None], str] = {}
        for example in examples:
            if example.audio is None:
                continue
            prefix, source = f"sp{factor:g}-", (example.audio, example.segment)
            utt = prefix + example.utt_id
            target = targets.setdefault(source, _target(out_dir, utt))
            jobs.setdefault(target, _NewAudio((example,), factor, target))
            spk = example.spk and prefix + example.spk
            yield replace(example, utt_id=utt, spk=spk, audio=target, segment=None)


def _join(
    examples: Sequence[Example],
    seconds: float,
    out_dir: Path,
    jobs: dict[str, _NewAudio],
    seed: int,
) -> Iterable[Example]:
    """Joined short utterances of each language and speaker, in a random order."""
    groups: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        short = 0 < (example.num_samples or 0) < seconds * SAMPLE_RATE
        if TASKS[example.task].transcribes and short and example.spk and example.text.strip():
            groups[example.lang, example.spk].append(example)
    for lang, spk in sorted(groups):
        members = sorted(groups[lang, spk], key=lambda example: example.utt_id)
        random.Random(f"{seed} {lang} {spk}").shuffle(members)
        for together in _cut(members, seconds):
            utt = f"join{len(together)}-{together[0].utt_id}"
            target = _target(out_dir, utt)
            jobs[target] = _NewAudio(tuple(together), 1.0, target)
            text = (" " if parts_words(lang) else "").join(example.text for example in together)
            yield replace(
                together[0], utt_id=utt, text=text, src_text=None, audio=target, segment=None
            )


def _cut(members: Sequence[Example], seconds: float) -> Iterable[list[Example]]:
    """Runs of two utterances or more that are, with pauses between them, at most ``seconds`` long."""
    run: list[Example] = []
    length = 0.0
    for example in members:
        own = (example.num_samples or 0) / SAMPLE_RATE
        if run and length + PAUSE + own > seconds:
            if len(run) > 1:
                yield run
            run, length = [], 0.0
        length += own + (PAUSE if run else 0.0)
        run.append(example)
    if len(run) > 1:
        yield run


def _target(out_dir: Path, utt: str) -> str:
    digest = hashlib.blake2b(utt.encode(), digest_size=8).hexdigest()
    return str(out_dir / "audio" / digest[:2] / f"{quote(utt, safe='')[:100]}-{digest}.flac")


def _write(job: _NewAudio) -> int:
    """Write a file and return its number of samples.

    Raises:
        DataError: a recording cannot be read any more, or the file cannot be written.
    """
    import soundfile
    import soxr

    pause = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    parts: list[np.ndarray] = []
    for example in job.examples:
        try:
            parts += [pause] * bool(parts) + [read_audio(example)]
        except BadAudio as error:
            raise DataError(f"{example.utt_id}: {error}") from None
    samples = np.concatenate(parts)
    if job.factor != 1.0:
        # played faster: as if it had been recorded at a higher rate
        samples = soxr.resample(samples, SAMPLE_RATE * job.factor, SAMPLE_RATE, quality="HQ")
    with atomic_write(Path(job.target), "wb") as file:
        soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return len(samples)
