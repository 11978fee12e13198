"""From examples to the steps of a phase: lengths, mixture, batches, loading in workers."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from espnet_part.config import ConfigError
from espnet_part.data.audio import BadAudio
from espnet_part.data.batching import Cost, Lengths, plan_steps, split_step
from espnet_part.data.chat import ChatFormat
from espnet_part.data.collate import Batch, Row, collate, make_row
from espnet_part.data.datadir import Example
from espnet_part.data.mixture import Mixture, Stratum
from espnet_part.data.prompts import Prompts
from espnet_part.data.tokens import count_tokens
from espnet_part.errors import DataError

#: (N,) int64 numbers of samples -> (N,) encoder frames and (N,) LLM positions of the speech.
SpeechLengths = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How large a step (one optimizer update over all processes and micro-batches) is.

    Attributes:
        bins: cost of a step in LLM positions (see `batching.Cost`); None with ``size``.
        size: examples of a step; with ``bins`` the most it may have.
        encoder_cost: what an encoder frame costs, in LLM positions.
        max_llm_length: an example with more positions is left out and named.
    """

    bins: float | None = None
    size: int | None = None
    encoder_cost: float = 1.0
    max_llm_length: int | None = None

    def __post_init__(self) -> None:
        if self.bins is None and self.size is None:
            raise ConfigError("batches: give a cost (bins) or a number of examples (size) a step")
        for name in ("bins", "size", "max_llm_length"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"batches: {name} must be positive: {value}")


class Corpus:
    """Examples and how they are put to the LLM, with the length of each; made once a run.

    Attributes:
        examples: the examples.
        llm: (N,) positions in the LLM, with the longest wording of the prompt.
        encoder: (N,) encoder frames, 0 for text.
        speech: (N,) LLM positions of the speech, 0 for text.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        prompts: Prompts,
        chat: ChatFormat,
        speech_lengths: SpeechLengths,
        token_counts: Mapping[str, tuple[int, int]] | None = None,
        where: str = "data",
    ):
        """Measure the examples.

        Args:
            examples: the examples.
            prompts, chat: how they are put to the LLM.
            speech_lengths: numbers of samples -> encoder frames, LLM positions.
            token_counts: utterance -> tokens of prompt and answer (`tokens.read_token_counts`);
                what is missing is tokenised now.
            where: name of the data, for messages.

        Raises:
            ConfigError: a task without prompt; cached features for a part of the speech only.
            DataError: speech without a number of samples.
        """
        self.examples = examples
        self.prompts = prompts
        self.chat = chat
        prompt, answer = count_tokens(examples, prompts, chat, token_counts)
        samples = _samples(examples, where)
        self.encoder = np.zeros(len(examples), dtype=np.int64)
        self.speech = np.zeros(len(examples), dtype=np.int64)
        spoken = samples > 0
        if spoken.any():
            frames, positions = speech_lengths(torch.from_numpy(samples[spoken]))
            self.encoder[spoken] = np.asarray(frames)
            self.speech[spoken] = np.asarray(positions)
        self.llm = prompt + answer + self.speech


class PhaseData:
    """The steps of one phase on one process.

    Args:
        corpus: the measured examples.
        tasks: sequence of tasks (natural sizes), task -> weight, or None for all of the corpus.
        batch: size of a step.
        temperature: of the languages, see `Mixture`.
        seed: of everything random here.
        train: false for one fixed pass in a fixed order with the first wording (validation).
        answers: false for prompts without answers (decoding).
        world, rank: processes and the number of this one.
        accum: micro-batches of a process in a step.
        num_workers: loading processes; the content of the batches does not depend on it.
        pin_memory: see torch's DataLoader.
        start_method: of the workers (fork, forkserver, spawn); None for fork where there is one.
        where: file and phase, for messages.

    Attributes:
        dropped: (utterance, reason) of what is never read.

    Raises:
        ConfigError: a task without data.
    """

    def __init__(
        self,
        corpus: Corpus,
        tasks: Sequence[str] | Mapping[str, float] | None,
        batch: BatchConfig,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        train: bool = True,
        answers: bool = True,
        world: int = 1,
        rank: int = 0,
        accum: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        start_method: str | None = None,
        where: str = "phase",
    ):
        if not 0 <= rank < world or accum < 1:
            raise ValueError(f"rank {rank} of {world}, {accum} micro-batches")
        if tasks is None:
            tasks = sorted({example.task for example in corpus.examples})
        self.corpus = corpus
        self.batch = batch
        self.seed = seed
        self.train = train
        self.answers = answers
        self.world = world
        self.rank = rank
        self.accum = accum
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.start_method = start_method
        self.cost = Cost(Lengths(corpus.llm, corpus.encoder), batch.encoder_cost)
        usable = self._usable(set(tasks))
        self.mixture = Mixture(corpus.examples, tasks, temperature, seed, where, usable)
        self._planned: tuple[int, list[np.ndarray]] | None = None

    def counts(self, epoch: int = 0) -> dict[Stratum, int]:
        """How many examples of each (task, language, target language) an epoch holds."""
        return self.mixture.counts(epoch)

    def steps(self, epoch: int = 0) -> list[np.ndarray]:
        """The steps of an epoch, each an array of positions in ``corpus.examples``.

        They are the same on every process and for every number of processes and micro-batches.
        """
        if self._planned is None or self._planned[0] != epoch:
            steps = plan_steps(
                self.mixture.epoch(epoch),
                self.cost,
                budget=self.batch.bins,
                max_examples=self.batch.size,
                seed=self.seed,
                epoch=epoch if self.train else None,
            )
            self._planned = (epoch, steps)
        return self._planned[1]

    def steps_per_epoch(self, epoch: int = 0) -> int:
        """How many steps an epoch has."""
        return len(self.steps(epoch))

    def loader(self, epoch: int = 0, start_step: int = 0) -> Iterator[list[Batch]]:
        """The rest of an epoch: for each step this process's ``accum`` micro-batches.

        torch's global random state is left alone, so a resumed run draws what it would have drawn.
        """
        steps = self.steps(epoch)[start_step:]
        dataset = StepDataset(self, steps, epoch if self.train else None)
        workers = min(self.num_workers, len(dataset))
        method = self.start_method or _start_method()
        batches = DataLoader(
            dataset,
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            multiprocessing_context=multiprocessing.get_context(method) if workers else None,
            worker_init_fn=_start_worker,
            generator=torch.Generator().manual_seed(0),
            pin_memory=self.pin_memory,
        )
        iterator = iter(batches)
        while step := list(itertools.islice(iterator, self.accum)):
            yield step

    def _usable(self, tasks: set[str]) -> np.ndarray:
        """Mark what fits the LLM's context; name what does not in ``dropped``."""
        limit = self.batch.max_llm_length
        self.dropped: list[tuple[str, str]] = []
        usable = np.ones(len(self.corpus.examples), dtype=bool)
        if limit is not None:
            usable = self.corpus.llm <= limit
        for position in np.flatnonzero(~usable).tolist():
            example = self.corpus.examples[position]
            if example.task in tasks:
                length = self.corpus.llm[position]
                reason = f"{length} positions in the LLM, at most {limit} fit"
                self.dropped.append((example.utt_id, reason))
        return usable


class StepDataset(Dataset[Batch]):
    """The micro-batches of a process: item n is micro-batch n % accum of step n // accum."""

    def __init__(self, data: PhaseData, steps: Sequence[np.ndarray], epoch: int | None):
        """See `PhaseData.loader`; ``epoch`` None takes the first wording of every prompt."""
        self.corpus = data.corpus
        self.cost = data.cost
        self.seed = data.seed
        self.answers = data.answers
        self.world, self.rank, self.accum = data.world, data.rank, data.accum
        self.steps = steps
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.steps) * self.accum

    def indices(self, item: int) -> np.ndarray:
        """The examples of a micro-batch. Neighbouring parts are alike, so all processes' are."""
        step, micro = divmod(item, self.accum)
        parts = split_step(self.steps[step], self.world * self.accum, self.cost)
        return parts[micro * self.world + self.rank]

    def __getitem__(self, item: int) -> Batch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        rows: list[Row] = []
        bad: list[tuple[str, str]] = []
        for position in self.indices(item).tolist():
            example = self.corpus.examples[position]
            try:
                rows.append(self._row(example, position))
            except BadAudio as error:
                bad.append((example.utt_id, str(error)))
        return collate(rows, self.corpus.chat.pad_token_id, bad)

    def _row(self, example: Example, position: int) -> Row:
        return make_row(
            example,
            self.corpus.prompts,
            self.corpus.chat,
            wording=self.corpus.prompts.choose(example, self.seed, self.epoch),
            answer=self.answers,
            frames=(int(self.corpus.encoder[position]), int(self.corpus.speech[position])),
        )


def _samples(examples: Sequence[Example], where: str) -> np.ndarray:
    """Numbers of samples, 0 for text."""
    spoken = [example for example in examples if example.audio is not None]
    unknown = [example.utt_id for example in spoken if example.num_samples is None]
    if unknown:
        raise DataError(
            f"{where}: {len(unknown)} utterances without utt2num_samples (first: {unknown[0]});"
            " run part_format_data on the directory"
        )
    without = [example.utt_id for example in spoken if example.feats is None]
    if without and len(without) < len(spoken):
        raise ConfigError(
            f"{where}: cached encoder output is missing for {len(without)} of {len(spoken)}"
            f" utterances (first: {without[0]}); extract it for all or for none"
        )
    counts = [0 if e.audio is None else e.num_samples or 0 for e in examples]
    return np.array(counts, dtype=np.int64)


def _start_method() -> str:
    """Fork where there is one: the workers share the examples' memory and use no accelerator."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)  # workers read and pad; more threads would only take the cores
