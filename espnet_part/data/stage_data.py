"""The data of a training run on one process: examples, measured once, handed out by phase."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import DataDir, check_share, report_faults
from espnet_part.data.dataset import BatchConfig, Corpus, DataPosition, PhaseData, SpeechLengths
from espnet_part.data.examples import ExampleList, Examples, WithFeats
from espnet_part.data.heard import Heard, Streams
from espnet_part.data.index import ExampleTable
from espnet_part.data.mixture_table import mixture_table, mixture_warnings
from espnet_part.data.prompts import Prompts
from espnet_part.data.shares import Limits
from espnet_part.data.tokens import read_token_counts
from espnet_part.errors import ConfigError, DataError, UserError
from espnet_part.kaldi import read_table
from espnet_part.parsing import read_json_object
from espnet_part.schedule.schedule import Phase


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
    """How batches are made and loaded.

    Attributes:
        batch: The size of a step.
        seed: Of everything random in the data.
        world, rank: Processes, and the number of this one.
        accum: Micro-batches of a process in a step, where ``batch`` has no size for a GPU.
        num_workers: Loading processes.
        pin_memory: See torch's DataLoader.
        shuffle_window: Shards of audio that are read at a time; 0 for all.
    """

    batch: BatchConfig
    seed: int = 0
    world: int = 1
    rank: int = 0
    accum: int = 1
    num_workers: int = 0
    pin_memory: bool = False
    shuffle_window: int = 0


@dataclasses.dataclass(frozen=True)
class SpeechSide:
    """What the data must know of the model's encoder and adapter.

    Attributes:
        lengths: Samples -> encoder frames and LLM positions.
        fingerprint: What identifies the frozen encoder's weights.
        max_length: Positions that the LLM can read; None where it does not say.
    """

    lengths: SpeechLengths
    fingerprint: Mapping[str, Any]
    max_length: int | None = None


class StageData:
    """Examples for training or validation.

    Args:
        examples: All usable examples.
        prompts, chat: How they are put to the LLM.
        loader: How they are batched and loaded.
        token_counts: See `Corpus`.
        feats_dirs: Where a frozen encoder's cached output is (see part_extract_features).
        encoder_conf: Digest of the encoder's settings, which the cache must have been made with.
        where: A name for messages.
    """

    def __init__(
        self,
        examples: Examples,
        prompts: Prompts,
        chat: ChatFormat,
        loader: LoaderConfig,
        token_counts: Mapping[str, tuple[int, int]] | None = None,
        feats_dirs: Sequence[str] = (),
        encoder_conf: str | None = None,
        where: str = "data",
    ) -> None:
        self.examples = examples
        self.prompts = prompts
        self.chat = chat
        self.loader = loader
        self.token_counts = token_counts
        self.feats_dirs = feats_dirs
        self.encoder_conf = encoder_conf
        self.where = where
        self._corpora: dict[bool, Corpus] = {}

    def phase(
        self,
        phase: Phase,
        speech: SpeechSide,
        untouched_encoder: bool,
        where: str,
    ) -> PhaseData:
        """The training data of a phase.

        Args:
            phase: Its mixture and its length.
            speech: The model's side.
            untouched_encoder: Whether the encoder is as it was loaded and stays so, and its cached
                output may stand for the audio.
            where: File and phase, for messages.

        Raises:
            ConfigError: a task without usable data, or limits that cannot be kept.
        """
        return self._data(
            phase.tasks,
            speech,
            untouched_encoder,
            where,
            temperature=phase.language_temperature,
            limits=Limits(phase.max_epochs, phase.min_share),
            steps=phase.steps,
            epochs=phase.epochs,
            accum=self.loader.accum,
            shuffle_window=self.loader.shuffle_window,
        )

    def validation(
        self, tasks: Sequence[str], speech: SpeechSide, untouched_encoder: bool
    ) -> PhaseData:
        """One pass over all examples of ``tasks``, in a fixed order with the first wording.

        Raises:
            ConfigError: there is no example of any of them.
        """
        present = [task for task in self.examples.tasks if task in tasks]
        if not present:
            raise ConfigError(
                f"{self.where}: no example of any task of the stage ({', '.join(tasks)}); "
                f"the data hold {', '.join(self.examples.tasks)}"
            )
        return self._data(present, speech, untouched_encoder, self.where)

    @functools.cached_property
    def streams(self) -> Streams:
        """The strata of all examples."""
        return Streams(self.examples)

    def digests(self) -> dict[str, str]:
        """What the steps and their order depend on, by section; equal for any number of processes."""
        batch = dataclasses.replace(self.loader.batch, bins_per_gpu=None, size_per_gpu=None)
        # an incomplete cache is other data; a complete one is not, for it gives the same steps
        lacking = "".join(f"{utt}\0" for utt in self._without_feats)
        return {
            "data": _sha256([lacking, self.examples.digest]) if lacking else self.examples.digest,
            "prompts": _sha256(sorted(self.prompts.wordings.items())),
            "batch sizes": _sha256(batch),
            "seed": f"{self.loader.seed}{self._shard_order}",
        }

    @functools.cached_property
    def _shard_order(self) -> str:
        """What an order by shards depends on; "" for none. Each checkpoint asks, and there are millions."""
        window = self.loader.shuffle_window
        if not window:
            return ""
        shards = hashlib.sha256(np.ascontiguousarray(self.examples.shards, dtype="<i4").data)
        return f", {window} shards of {shards.hexdigest()}"

    @functools.cached_property
    def _without_feats(self) -> list[str]:
        """The speech that the cache lacks."""
        if not self.feats_dirs:
            return []
        cached = {utt for directory in self.feats_dirs for utt in _read_cache(directory)[1]}
        speech = (self.examples.samples != 0).tolist()
        ids = zip(self.examples.utt_ids(), speech, strict=True)
        return [utt for utt, is_speech in ids if is_speech and utt not in cached]

    def _data(
        self,
        tasks: Sequence[str] | Mapping[str, float],
        speech: SpeechSide,
        untouched_encoder: bool,
        where: str,
        **options: Any,
    ) -> PhaseData:
        config = self.loader
        limit = config.batch.max_llm_length or speech.max_length
        return PhaseData(
            self._corpus(speech, untouched_encoder),
            tasks,
            dataclasses.replace(config.batch, max_llm_length=limit),
            seed=config.seed,
            world=config.world,
            rank=config.rank,
            num_workers=config.num_workers,
            pin_memory=config.pin_memory,
            where=where,
            **options,
        )

    def _corpus(self, speech: SpeechSide, untouched_encoder: bool) -> Corpus:
        cached = untouched_encoder and bool(self.feats_dirs)
        if cached not in self._corpora:
            made_with = {**speech.fingerprint, "encoder_conf": self.encoder_conf}
            feats = load_feats(self.feats_dirs, made_with) if cached else None
            self._corpora[cached] = Corpus(
                _with_feats(self.examples, feats or {}),
                self.prompts,
                self.chat,
                speech.lengths,
                self.token_counts,
                self.where,
                cached,
            )
        return self._corpora[cached]


def _sha256(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def load_examples(directories: Sequence[str], max_bad_share: float) -> ExampleList:
    """Read data directories, name what is wrong in them, and stop when that is too much.

    Raises:
        DataError: more than ``max_bad_share`` is unusable, or nothing is left.
    """
    examples, faults = DataDir.combine(directories)
    where = " ".join(directories)
    if faults:
        logging.warning("%s:\n%s", where, report_faults(faults))
    check_share(faults, len(examples), max_bad_share, where)
    return ExampleList(examples)


def open_index(index: str, directories: Sequence[str], max_bad_share: float) -> ExampleTable:
    """Open the index of data directories, whose faults were named when it was written.

    Raises:
        DataError: it is not of these directories as they are, or more than ``max_bad_share`` of them is
            unusable.
    """
    table = ExampleTable(index)
    table.check(directories)
    total = len(table) + table.bad
    if table.bad:
        logging.warning("%s: %d of %d utterances are left out", index, table.bad, total)
    if table.bad > max_bad_share * total:
        raise DataError(
            f"{index}: {table.bad} of {total} utterances are unusable, more than --max_bad_share "
            f"{max_bad_share:g} allows"
        )
    return table


def load_token_counts(files: Sequence[str]) -> dict[str, tuple[int, int]] | None:
    """Read ``text_tokens`` files; None when there are none."""
    if not files:
        return None
    return {utt: counts for file in files for utt, counts in read_token_counts(file).items()}


def load_feats(directories: Sequence[str], fingerprint: Mapping[str, Any]) -> dict[str, str]:
    """Read the index of cached encoder outputs.

    Args:
        directories: Written by part_extract_features.
        fingerprint: What the encoder of this run says of itself.

    Raises:
        DataError: the cache was made with another encoder, or cannot be read.
    """
    feats: dict[str, str] = {}
    for directory in directories:
        made_with, table = _read_cache(directory)
        for key, value in fingerprint.items():
            if made_with.get(key) != value:
                raise DataError(
                    f"{directory}: was made with another encoder ({key} {made_with.get(key)!r}, "
                    f"here {value!r}); make it anew (stage 6) or do without --cache_features"
                )
        feats.update(table)
    return feats


def _read_cache(directory: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What a cache says of its encoder, and its index."""
    try:
        return (
            read_json_object(Path(directory, "encoder.json")),
            read_table(Path(directory, "feats.scp")),
        )
    except UserError as error:
        raise DataError(f"{directory}: no usable cache of encoder outputs: {error}") from None


def _with_feats(examples: Examples, feats: Mapping[str, str]) -> Examples:
    """All examples at their places, with these cached outputs and no others."""
    if not feats and not examples.has_feats.any():
        return examples
    return WithFeats(examples, feats)


def log_mixtures(phases: Mapping[str, PhaseData], where: str) -> None:
    """Log what a stage is expected to hear of each stratum.

    Args:
        phases: By name, in order.
    """
    mixtures = [data.expected(name) for name, data in phases.items()]
    logging.info("%s: what the stage is to hear:\n%s", where, mixture_table(mixtures))
    for warning in mixture_warnings(mixtures):
        logging.warning("%s: %s", where, warning)


def log_mixture(data: PhaseData, where: str) -> None:
    """Log how large an epoch of a phase is, and what is left out of it."""
    strata = data.mixture.shares
    logging.info(
        "%s: an epoch holds %d examples of %d strata", where, data.mixture.size, len(strata)
    )
    log_dropped(data, where)


def log_dropped(data: PhaseData, where: str) -> None:
    """Name what is left out of the data."""
    if data.dropped:
        utt, reason = data.dropped[0]
        logging.warning(
            "%s: %d examples are left out, such as %s: %s", where, len(data.dropped), utt, reason
        )


def log_sizes(data: PhaseData, heard: Heard, position: DataPosition, where: str) -> None:
    """Log who computes what of a step, and warn where a process has nothing to do."""
    batch, world = data.batch, data.world
    steps, _ = data.pool(heard, position)
    examples = np.array([len(step) for step in steps])
    micro = max(len(data.parts(step)) for step in steps)
    size = f"{batch.bins:.0f} bins" if batch.bins is not None else f"{batch.size} examples"
    logging.info(
        "%s: a step of %s holds %d to %d examples, whatever the number of processes; %s in up to "
        "%d micro-batches",
        *(where, size, examples.min(), examples.max()),
        *(
            "it is computed" if world == 1 else f"each of {world} processes computes its share",
            micro,
        ),
    )
    idle = np.maximum(world - examples, 0).sum() / (world * len(steps))
    if idle > 0.01:
        logging.warning(
            "%s: %d processes are more than the steps can fill: %d %% of their turns are empty, since "
            "a step holds %.1f examples on average; take fewer processes, or larger steps "
            "(--batch_bins, --batch_size) at other learning rates",
            *(where, world, 100 * idle, examples.mean()),
        )
    if batch.bins_per_gpu is not None:
        dear = []
        for positions, _, costs in data.costs(np.arange(len(data.corpus.examples))):
            for n in np.flatnonzero(
                (costs > batch.bins_per_gpu) & (costs <= (batch.bins or np.inf))
            ):
                dear.append((int(positions[n]), costs[n]))
        if dear:
            logging.warning(
                "%s: %d examples cost more than --max_bins_per_gpu %.0f, such as %s (%.0f); each is "
                "computed alone",
                *(where, len(dear), batch.bins_per_gpu),
                *(data.corpus.examples[dear[0][0]].utt_id, dear[0][1]),
            )
