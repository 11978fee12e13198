"""A frozen encoder's output, computed once: `feats.ark` and `feats.scp` for training to read.

Several jobs, a GPU each, may share the work: a job has an ark and its index for itself, and whoever joins
them names in `feats.scp` where each clip is, in whichever ark. Examples and index are sorted by clip on the
disk and read side by side, so that memory holds some thousands of them however many there are.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.data.datadir import Example
from espnet_part.data.sources import audio_state
from espnet_part.data.tables import RANGE
from espnet_part.decode.failures import check_failures, write_failures
from espnet_part.decode.feature_store import FeatureStore, Place
from espnet_part.decode.halving import run_or_name
from espnet_part.decode.time_left import Progress
from espnet_part.errors import ConfigError, DataError
from espnet_part.kaldi import write_table
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.sorting import LineSorter, first_field

_UNKNOWN_SAMPLES = 30 * SAMPLE_RATE  # for planning batches where utt2num_samples is missing


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """What is encoded once, however many examples use it.

    Attributes:
        key: what the store calls it: another name when its file has changed.
        utt_id: an example that uses it.
        audio, segment: see `Example`.
        samples: its length at 16 kHz, as far as it is known.
    """

    key: str
    utt_id: str
    audio: str
    segment: tuple[float, float] | None
    samples: int

    @classmethod
    def read(cls, line: bytes) -> Clip:
        """From a line of `_sort_uses`."""
        key, content = line.split(b"\t", 1)
        utt, audio, segment, samples = json.loads(content)
        return cls(key.decode(), utt, audio, tuple(segment) if segment else None, samples)


class Encoder:
    """A speech encoder alone, and what identifies its weights.

    Args:
        encoder: as in `SpeechLLM.encoder`.
        identity: the content of encoder.json.
    """

    def __init__(self, encoder: Any, identity: dict[str, Any], device: str = "cpu"):
        self.encoder = encoder.to(device).float().eval()
        self.identity = identity
        self.device = device

    @classmethod
    def load(cls, config: Any, part_init: str | Path | None, device: str = "cpu") -> Encoder:
        """Build the encoder of a model configuration; the LLM is not touched.

        Args:
            config: a `ModelConfig`.
            part_init: trained weights; where they hold the encoder, they replace its base weights.

        Raises:
            ConfigError: an encoder of random weights, whose output no training could use.
            DataError: ``part_init`` cannot be read or belongs to another encoder.
        """
        from espnet_part.model.base import file_sha256
        from espnet_part.model.build import build_encoder
        from espnet_part.model.function import conf_digest

        encoder = build_encoder(config.encoder, config.encoder_conf)
        base = dataclasses.asdict(encoder.base) if encoder.base is not None else {}
        conf = conf_digest(config.encoder, config.encoder_conf)
        identity = {**base, "encoder_conf": conf, "part_init": None}
        if part_init is not None:
            trained = _load_trained_encoder(encoder, Path(part_init))
            digest = file_sha256(Path(part_init)) if trained else None
            identity["part_init"] = digest
            if digest:  # another encoder than the base model: training must not take it for that
                identity["base_fingerprint"] = identity.get("fingerprint")
                identity["fingerprint"] = hashlib.sha256(
                    f"{identity.get('fingerprint')} {digest}".encode()
                ).hexdigest()
        if identity.get("fingerprint") is None:
            raise ConfigError(
                "the encoder's weights are random (`encoder_conf` names no pretrained model): "
                "another run would have others, so its output cannot be kept"
            )
        return cls(encoder, identity, device)

    def __call__(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode (samples,) 16 kHz waveforms; (frames, dim) float32 for each."""
        lengths = torch.tensor([len(clip) for clip in clips])
        speech = torch.zeros(len(clips), int(lengths.max()))
        for number, clip in enumerate(clips):
            speech[number, : len(clip)] = torch.from_numpy(clip)
        with torch.inference_mode():
            states, frames = self.encoder(speech.to(self.device), lengths.to(self.device))
        states = states.float().cpu().numpy()
        return [states[n, : int(length)].copy() for n, length in enumerate(frames)]


class _EncoderAlone(nn.Module):
    """An encoder under the name that it has in a whole model, for trained weights to be loaded."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def base_models(self) -> list[dict[str, Any]]:
        base = self.encoder.base
        return [] if base is None else [dataclasses.asdict(base)]


def _load_trained_encoder(encoder: Any, path: Path) -> bool:
    """Copy the tensors ``encoder.*`` of a file of trained weights; false when it has none."""
    from espnet_part.train.checkpoint import Checkpoint, restore_weights
    from espnet_part.weights import read_weights

    metadata, tensors = read_weights(path)
    bases = [base for base in metadata.get("base_models", []) if base["part"] == "encoder"]
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    saved = Checkpoint(weights, {}, {"base_models": bases})
    restore_weights(_EncoderAlone(encoder), saved, str(path))
    return bool(weights)


def extract_features(
    examples: Iterable[Example],
    encoder: Encoder,
    out_dir: Path,
    batch_bins: int,
    max_bad_share: float,
    job: int | None = None,
    nj: int = 1,
) -> int:
    """Write feats.ark, feats.scp, utt2num_frames, encoder.json and failed.tsv.

    Each distinct clip is encoded once; what earlier runs or jobs wrote with the same encoder is kept.

    Args:
        examples: those without audio are passed over.
        batch_bins: most samples of a batch, padding included.
        max_bad_share: with a larger share of failures an error ends the run, all files written.
        job: encode only the clips of this one of ``nj`` jobs (1 is the first), into feats.JOB.ark.

    Returns:
        How many clips were encoded now.

    Raises:
        DataError: nothing to encode, or too much failed; of a job's clips, all.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    if job is None:  # nobody else is at work then
        for left in out_dir.glob(".sorting.*"):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".sorting.", dir=out_dir) as directory:
        uses = Path(directory, "uses")
        spoken = _sort_uses(examples, uses, job, nj)
        if not spoken:
            raise DataError(f"{out_dir}: no example with speech to encode")
        store = FeatureStore(out_dir, encoder.identity, job)
        logging.info("%d examples with speech", spoken)
        todo = Path(directory, "todo")
        count, cost = _find_new(uses, store, todo)
        failed: dict[str, str] = {}
        with Progress(cost, count, "encoding") as progress, todo.open("rb") as file:
            while some := [Clip.read(line) for line in itertools.islice(file, RANGE)]:
                for batch in _plan(some, batch_bins):
                    encoded, reasons = _encode(encoder, batch)
                    store.add(encoded)
                    failed.update(reasons)
                    progress.advance(sum(clip.samples for clip in batch), len(batch))
        done = count - len(failed)
        if job is None:
            _finish(out_dir, uses, spoken, store, failed, max_bad_share)
        elif failed and not done:
            # what fails here is tried again, and named, by who joins the jobs
            raise DataError(f"{out_dir}: all {len(failed)} clips of job {job} failed")
    return done


def _sort_uses(examples: Iterable[Example], path: Path, job: int | None, nj: int) -> int:
    """Write those with speech (of a job's clips), sorted by clip; return how many there are (of all)."""
    lines, count = LineSorter(path.with_name("run")), 0
    state = functools.lru_cache(1 << 14)(audio_state)  # a recording has hundreds of segments
    for example in examples:
        if example.audio is None:
            continue
        content = repr(((example.audio, example.segment), state(example.audio)))
        key = hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
        if job is None or int(key, 16) % nj == job - 1:
            samples = example.num_samples or _UNKNOWN_SAMPLES
            value = json.dumps([example.utt_id, example.audio, example.segment, samples])
            lines.add(f"{key}\t{value}\n".encode())
        count += 1
    with path.open("wb") as file:
        file.writelines(lines.merged())
    return count


def _side_by_side(
    uses: Path, store: FeatureStore
) -> Iterator[tuple[str, Iterator[bytes], Place | None]]:
    """The key of each clip that is used, the lines of its uses, and where it is stored."""
    lines = LineSorter(uses.with_name("run"))
    for key, place in store.entries():
        lines.add(f"{key}\t{json.dumps(place)}\n".encode())
    stored = ((key, next(of_key)) for key, of_key in itertools.groupby(lines.merged(), first_field))
    here = next(stored, None)
    with uses.open("rb") as file:
        for used, group in itertools.groupby(file, first_field):
            while here is not None and here[0] < used:
                here = next(stored, None)
            found = None
            if here is not None and here[0] == used:
                found = Place(*json.loads(here[1].split(b"\t", 1)[1]))
            yield used.decode(), group, found


def _find_new(uses: Path, store: FeatureStore, todo: Path) -> tuple[int, int]:
    """Write the clips that are not stored, a use of each; return how many, and their samples."""
    clips = count = cost = 0
    with todo.open("wb") as file:
        for _, lines, place in _side_by_side(uses, store):
            clips += 1
            if place is None:
                line = next(lines)
                file.write(line)
                count += 1
                cost += Clip.read(line).samples
    logging.info("%d distinct clips, %d of them to be encoded", clips, count)
    return count, cost


def _finish(
    out_dir: Path,
    uses: Path,
    spoken: int,
    store: FeatureStore,
    failed: dict[str, str],
    max_bad_share: float,
) -> None:
    found = LineSorter(uses.with_name("found"))
    bad = []
    for key, lines, place in _side_by_side(uses, store):
        for utt in (Clip.read(line).utt_id for line in lines):
            if place is not None:
                entry = f"{place.frames}\t{out_dir / place.ark}:{place.offset}"
                found.add(f"{utt}\t{entry}\n".encode())
            elif key in failed:
                bad.append((utt, failed[key]))
    write_failures(out_dir, sorted(bad))
    rows = uses.with_name("rows")
    with rows.open("wb") as file:
        file.writelines(found.merged())
    # feats.scp comes last: where it is, the features are complete
    for column, name in enumerate(("utt2num_frames", "feats.scp"), 1):
        with rows.open(encoding="utf-8", newline="\n") as file:
            parts = (line.removesuffix("\n").split("\t", 2) for line in file)
            write_table(out_dir / name, ((row[0], row[column]) for row in parts), are_sorted=True)
    check_failures(out_dir, len(bad), spoken, max_bad_share)


def _encode(
    encoder: Encoder, batch: Sequence[Clip]
) -> tuple[list[tuple[str, np.ndarray]], dict[str, str]]:
    failed: dict[str, str] = {}
    read: list[tuple[Clip, np.ndarray]] = []
    for clip in batch:
        try:
            read.append((clip, read_audio(clip.audio, clip.segment)))
        except BadAudio as error:
            failed[clip.key] = str(error)
            logging.warning("%s: %s", clip.utt_id, error)

    def run(chosen: Sequence[tuple[Clip, np.ndarray]]) -> list[np.ndarray]:
        return encoder([speech for _, speech in chosen])

    encoded: list[tuple[str, np.ndarray]] = []
    for (clip, _), states, reason in run_or_name(read, run):
        if states is not None and not np.isfinite(states).all():
            states, reason = None, "the encoder's output is not finite"
        if states is None:
            failed[clip.key] = reason
            logging.warning("%s: %s", clip.utt_id, reason)
        else:
            encoded.append((clip.key, states))
    return encoded, failed


def _plan(clips: Sequence[Clip], batch_bins: int) -> Iterator[list[Clip]]:
    """Batches of like length with at most ``batch_bins`` samples, the longest first."""
    batch: list[Clip] = []
    for clip in sorted(clips, key=lambda clip: clip.samples, reverse=True):
        if batch and batch[0].samples * (len(batch) + 1) > batch_bins:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch
