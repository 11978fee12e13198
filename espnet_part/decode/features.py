"""A frozen encoder's output, computed once: `feats.ark` and `feats.scp` for training to read.

Several jobs, a GPU each, may share the work: a job has an ark and its index for itself, and whoever joins
them names in `feats.scp` where each clip is, in whichever ark.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.data.datadir import Example
from espnet_part.data.sources import audio_state
from espnet_part.decode.failures import check_failures, write_failures
from espnet_part.decode.halving import run_or_name
from espnet_part.decode.time_left import Progress
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.journal import Journal, cannot_write
from espnet_part.kaldi import write_table
from espnet_part.parsing import read_json
from espnet_part.sample_rate import SAMPLE_RATE

_UNKNOWN_SAMPLES = 30 * SAMPLE_RATE  # for planning batches where utt2num_samples is missing

Clip = tuple[str, tuple[float, float] | None]
"""Audio and the segment of it: what is encoded once, however many examples use it."""

Keys = dict[Clip, str]
"""What the store calls each clip: another name when its file has changed."""


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
    examples: Sequence[Example],
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
    spoken = [example for example in examples if example.audio is not None]
    if not spoken:
        raise DataError(f"{out_dir}: no example with speech to encode")
    clips: dict[Clip, Example] = {}
    for example in spoken:
        clips.setdefault(_clip(example), example)
    keys = {clip: _key(clip) for clip in clips}
    if job is not None:
        clips = {clip: e for clip, e in clips.items() if int(keys[clip], 16) % nj == job - 1}
    store = _Store(out_dir, encoder.identity, job)
    todo = [example for clip, example in clips.items() if keys[clip] not in store.index]
    logging.info(
        "%d examples with speech, %d distinct clips, %d of them to be encoded",
        len(spoken),
        len(clips),
        len(todo),
    )
    failed: dict[str, str] = {}
    with Progress(sum(map(_samples, todo)), len(todo), "encoding") as progress:
        for batch in _plan(todo, batch_bins):
            encoded, reasons = _encode(encoder, batch, keys)
            store.add(encoded)
            failed.update(reasons)
            progress.advance(sum(map(_samples, batch)), len(batch))
    done = len(todo) - len(failed)
    if job is None:
        return _finish(out_dir, spoken, keys, store, failed, done, max_bad_share)
    if failed and not done:  # what fails here is tried again, and named, by who joins the jobs
        raise DataError(f"{out_dir}: all {len(failed)} clips of job {job} failed")
    return done


def _finish(
    out_dir: Path,
    spoken: Sequence[Example],
    keys: Keys,
    store: _Store,
    failed: dict[str, str],
    encoded: int,
    max_bad_share: float,
) -> int:
    good = sorted(
        (example.utt_id, *store.index[keys[_clip(example)]])
        for example in spoken
        if keys[_clip(example)] in store.index
    )
    bad = [example for example in spoken if keys[_clip(example)] in failed]
    write_failures(out_dir, ((example.utt_id, failed[keys[_clip(example)]]) for example in bad))
    write_table(out_dir / "utt2num_frames", ((utt, str(frames)) for utt, _, frames in good))
    # feats.scp comes last: where it is, the features are complete
    feats = ((utt, f"{out_dir / ark}:{offset}") for utt, (ark, offset), _ in good)
    write_table(out_dir / "feats.scp", feats)
    check_failures(out_dir, len(bad), len(spoken), max_bad_share)
    return encoded


def _encode(
    encoder: Encoder, batch: Sequence[Example], keys: Keys
) -> tuple[list[tuple[str, np.ndarray]], dict[str, str]]:
    failed: dict[str, str] = {}
    read: list[tuple[str, np.ndarray]] = []
    for example in batch:
        key = keys[_clip(example)]
        try:
            read.append((key, read_audio(example)))
        except BadAudio as error:
            failed[key] = str(error)
            logging.warning("%s: %s", example.utt_id, error)

    def run(chosen: Sequence[tuple[str, np.ndarray]]) -> list[np.ndarray]:
        return encoder([speech for _, speech in chosen])

    encoded: list[tuple[str, np.ndarray]] = []
    for (key, _), states, reason in run_or_name(read, run):
        if states is not None and not np.isfinite(states).all():
            states, reason = None, "the encoder's output is not finite"
        if states is None:
            failed[key] = reason
            logging.warning("%s: %s", key, reason)
        else:
            encoded.append((key, states))
    return encoded, failed


class _Store:
    """An ark and its index, which only ever names what is on the disk; and what other jobs have stored.

    Attributes:
        index: key of a clip -> its place (name of the ark, offset), frames.
    """

    def __init__(self, directory: Path, identity: dict[str, Any], job: int | None):
        self.index: dict[str, tuple[tuple[str, int], int]] = {}
        directory.mkdir(parents=True, exist_ok=True)
        own = "" if job is None else f".{job}"
        self._ark = directory / f"feats{own}.ark"
        self._journal = Journal(directory / f"feats{own}.jsonl")
        for made_with in sorted(directory.glob("encoder*.json")):
            name = made_with.name.removeprefix("encoder").removesuffix(".json")
            if name == own or not re.fullmatch(r"(\.\d+)?", name):
                continue
            ark, index = directory / f"feats{name}.ark", directory / f"feats{name}.jsonl"
            if _read_identity(made_with) == identity:
                self._add(ark, _entries(ark, Journal(index).peek()))
            elif job is None:  # nobody else is at work then
                for path in (made_with, index, ark):
                    path.unlink(missing_ok=True)
        made_with = directory / f"encoder{own}.json"
        before = _read_identity(made_with)
        if before == identity:
            self._read()
            return
        if before is not None:
            logging.warning("%s: made with another encoder: starting over", directory)
        for path in (directory / "feats.scp", self._journal.path, self._ark):
            path.unlink(missing_ok=True)
        with atomic_write(made_with) as file:
            json.dump(identity, file, indent=1)
            file.write("\n")

    def _read(self) -> None:
        """Read the index, and cut off what a kill left half written."""
        lines = self._journal.read()
        good = _entries(self._ark, lines)
        if len(good) < len(lines):  # untrue lines would become true again as the ark grows
            self._journal.replace(good)
        self._add(self._ark, good)
        end = max((stop for *_, stop in good), default=0)
        if self._ark.exists() and end < self._ark.stat().st_size:
            os.truncate(self._ark, end)

    def _add(self, ark: Path, entries: Iterable[Any]) -> None:
        for key, offset, frames, _ in entries:
            self.index[key] = ((ark.name, offset), frames)

    def add(self, encoded: Sequence[tuple[str, np.ndarray]]) -> None:
        """Append matrices; they and their index are on the disk when this returns.

        Raises:
            DataError: the disk is full, or writing is not permitted.
        """
        from kaldiio.matio import write_array

        lines = []
        try:
            with self._ark.open("ab") as ark:
                for key, matrix in encoded:
                    ark.write(f"{key} ".encode())
                    offset = ark.tell()
                    write_array(ark, np.ascontiguousarray(matrix, dtype=np.float32))
                    lines.append((key, offset, len(matrix), ark.tell()))
                ark.flush()
                os.fsync(ark.fileno())
        except OSError as error:
            raise cannot_write(self._ark, error) from None
        self._journal.add(lines)
        self._add(self._ark, lines)


def _read_identity(path: Path) -> Any:
    """What an encoder.json says; None where there is none that can be read."""
    try:
        return read_json(path)
    except ConfigError:
        return None


def _entries(ark: Path, lines: Iterable[Any]) -> list[Any]:
    """Those lines of an index that name what is in its ark."""
    size = ark.stat().st_size if ark.exists() else 0
    return [line for line in lines if _is_entry(line) and line[3] <= size]


def _is_entry(line: Any) -> bool:
    """Whether a line of the index is [key, offset, frames, stop]."""
    return isinstance(line, list) and [type(value) for value in line] == [str, int, int, int]


def _clip(example: Example) -> Clip:
    return example.audio or "", example.segment


def _key(clip: Clip) -> str:
    content = repr((clip, audio_state(clip[0])))
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


def _samples(example: Example) -> int:
    return example.num_samples or _UNKNOWN_SAMPLES


def _plan(examples: Sequence[Example], batch_bins: int) -> Iterator[list[Example]]:
    """Batches of like length with at most ``batch_bins`` samples, the longest first."""
    batch: list[Example] = []
    for example in sorted(examples, key=_samples, reverse=True):
        if batch and _samples(batch[0]) * (len(batch) + 1) > batch_bins:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch
