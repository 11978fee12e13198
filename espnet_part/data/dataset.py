"""From examples to the steps of a phase: lengths, mixture, batches, loading in workers."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from espnet_part.data import ENCODER_COST, Stratum
from espnet_part.data.audio import BadAudio
from espnet_part.data.batching import (
    Cost,
    Lengths,
    micro_batches_needed,
    plan_steps,
    split_step,
)
from espnet_part.data.chat import ChatFormat
from espnet_part.data.collate import Batch, Row, collate, make_row
from espnet_part.data.datadir import Example
from espnet_part.data.examples import Examples
from espnet_part.data.heard import Heard
from espnet_part.data.mixture import Mixture, select
from espnet_part.data.mixture_table import PhaseMixture
from espnet_part.data.prompts import Prompts
from espnet_part.data.shards import shard_order
from espnet_part.data.shares import NO_LIMITS, Limits, limited_shares, natural_shares
from espnet_part.data.tokens import check_few, count_tokens
from espnet_part.errors import ConfigError, DataError
from espnet_part.sample_rate import SAMPLE_RATE

#: (N,) int64 numbers of samples -> (N,) encoder frames and (N,) LLM positions of the speech.
SpeechLengths = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


#: Steps that are sorted together: more for less padding, fewer for steps of more varied content.
POOL_STEPS = 64


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How large a step (one optimizer update over all processes and micro-batches) is.

    Attributes:
        bins: cost of a step in LLM positions (see `batching.Cost`); None with ``size``.
        size: examples of a step; with ``bins`` the most it may have.
        encoder_cost: what an encoder frame costs, in LLM positions.
        max_llm_length: an example with more positions is left out and named.
        bins_per_gpu: cost of what a process computes at once; None for ``accum`` micro-batches.
        size_per_gpu: examples of what a process computes at once.
    """

    bins: float | None = None
    size: int | None = None
    encoder_cost: float = ENCODER_COST
    max_llm_length: int | None = None
    bins_per_gpu: float | None = None
    size_per_gpu: int | None = None

    def __post_init__(self) -> None:
        if self.bins is None and self.size is None:
            raise ConfigError("batches: give a cost (bins) or a number of examples (size) a step")
        for name in ("bins", "size", "max_llm_length", "bins_per_gpu", "size_per_gpu"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"batches: {name} must be positive: {value}")


@dataclass(frozen=True, slots=True)
class DataPosition:
    """A point between two steps of a phase.

    Attributes:
        pool: number of the pool, counted from the start of the run's first stage.
        drawn: examples drawn in the phase before this pool.
        step: steps of the pool that are done.
        limit: most steps of the pool: those left of the phase when the pool was drawn.
    """

    pool: int = 0
    drawn: int = 0
    step: int = 0
    limit: int | None = None


_AT_ONCE = 1 << 20  # examples whose lengths are computed together

#: A step of training: where the data are after it, and this process's micro-batches.
Step = tuple[DataPosition, list[Batch]]


class Corpus:
    """Examples and how they are put to the LLM; made once a run.

    Lengths are computed where they are needed: of millions of examples, those of a pool at a time.

    Attributes:
        examples: the examples.
        without_feats: (n,) positions of speech without the cached output that stands for the audio.
    """

    def __init__(
        self,
        examples: Examples,
        prompts: Prompts,
        chat: ChatFormat,
        speech_lengths: SpeechLengths,
        token_counts: Mapping[str, tuple[int, int]] | None = None,
        where: str = "data",
        cached: bool = False,
    ):
        """Measure the examples.

        Args:
            examples: the examples.
            prompts, chat: how they are put to the LLM.
            speech_lengths: numbers of samples -> encoder frames, LLM positions.
            token_counts: utterance -> tokens of prompt and answer (`tokens.read_token_counts`);
                what is missing is tokenised now.
            where: name of the data, for messages.
            cached: the encoder's cached output stands for all audio; speech without is never read.

        Raises:
            ConfigError: a task without prompt; without ``cached``, features for a part of the speech.
            DataError: speech without a number of samples.
        """
        self.examples = examples
        self.prompts = prompts
        self.chat = chat
        self._speech_lengths = speech_lengths
        if examples.token_counts is not None:
            self._tokens = check_few(examples, examples.token_counts, prompts, chat)
        else:
            self._tokens = count_tokens(examples, prompts, chat, token_counts)
        _check_samples(examples, where)
        absent = (examples.samples != 0) & ~examples.has_feats
        if not cached and absent.any() and examples.has_feats.any():
            raise ConfigError(
                f"{where}: cached encoder output is missing for {absent.sum()} utterances (first: "
                f"{examples[int(absent.argmax())].utt_id}); extract it for all or for none"
            )
        self.without_feats = np.flatnonzero(absent & cached)

    def lengths(self, positions: np.ndarray) -> Lengths:
        """What the examples at (n,) ``positions`` cost, with the longest wordings of their prompts."""
        encoder, speech = self.frames(positions)
        prompt, answer = (counts[positions].astype(np.int64) for counts in self._tokens)
        return Lengths(prompt + answer + speech, encoder)

    def frames(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int64 encoder frames and (n,) int64 LLM positions of the speech; 0 for text."""
        samples = self.examples.samples[positions].astype(np.int64)
        encoder, speech = np.zeros_like(samples), np.zeros_like(samples)
        spoken = samples > 0
        if spoken.any():
            frames, places = self._speech_lengths(torch.from_numpy(samples[spoken]))
            encoder[spoken], speech[spoken] = np.asarray(frames), np.asarray(places)
        return encoder, speech


class PhaseData:
    """The steps of one phase on one process.

    Examples are drawn in pools of about `POOL_STEPS` steps, which are sorted and cut by length; an
    epoch is a whole number of pools. The phase's last pool is as large as its last steps need, so
    that a phase ends with everything heard that was drawn.

    Args:
        corpus: the measured examples.
        tasks: sequence of tasks (natural sizes), task -> weight, or None for all of the corpus.
        batch: size of a step.
        temperature: of the languages, see `shares.natural_shares`.
        limits: caps and floors of the languages, see `shares.limited_shares`.
        steps, epochs: how long the phase is, where ``limits`` or `expected` have to know.
        shuffle_window: shards that are read at a time (see `shard_order`); 0 for all.
        seed: of everything random here.
        world, rank: processes and the number of this one.
        accum: micro-batches of a process in a step, where ``batch`` has no size for a GPU.
        num_workers: loading processes; the content of the batches does not depend on it.
        pin_memory: see torch's DataLoader.
        start_method: of the workers (fork, forkserver, spawn); None for fork where there is one.
        where: file and phase, for messages.

    Attributes:
        dropped: (utterance, reason) of what is never read.

    Raises:
        ConfigError: a task without data, or limits that cannot be kept.
    """

    def __init__(
        self,
        corpus: Corpus,
        tasks: Sequence[str] | Mapping[str, float] | None,
        batch: BatchConfig,
        *,
        temperature: float = 1.0,
        limits: Limits = NO_LIMITS,
        steps: int | None = None,
        epochs: int | None = None,
        shuffle_window: int = 0,
        seed: int = 0,
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
            tasks = corpus.examples.tasks
        self.corpus = corpus
        self.batch = batch
        self.seed = seed
        self.world = world
        self.rank = rank
        self.accum = accum
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.start_method = start_method
        self.where = where
        self.phase_steps = steps
        self.phase_epochs = epochs
        members = select(corpus.examples, tasks, where, self._usable(set(tasks)))
        sizes = {stratum: len(chosen) for stratum, chosen in members.items()}
        self._costs: dict[Stratum, float] = {}  # of all examples of a stratum
        if batch.bins is not None:
            for stratum, chosen in members.items():
                self._costs[stratum] = sum(costs.sum() for *_, costs in self.costs(chosen))
        shares = natural_shares(sizes, tasks, temperature, where)
        self._bound: dict[Stratum, str] = {}
        if limits:
            means = {stratum: cost / sizes[stratum] for stratum, cost in self._costs.items()}
            most = partial(self._most_examples, sum(sizes.values()))
            shares, self._bound = limited_shares(shares, sizes, limits, most, means, where)
        order = {}
        if shuffle_window:
            shards = corpus.examples.shards
            order["shuffle"] = partial(shard_order, shards=shards, window=shuffle_window)
        self.mixture = Mixture(members, shares, seed, **order)
        # the pools of an epoch, of like size
        self.pools = max(1, round(self.mixture.size / (POOL_STEPS * self._examples_a_step())))
        self._planned: tuple[Heard, DataPosition, list[np.ndarray], int] | None = None

    def counts(self) -> dict[Stratum, int]:
        """How many examples of each (task, language, target language) an epoch holds."""
        return self.mixture.counts()

    def expected(self, name: str) -> PhaseMixture:
        """What the phase ``name`` is expected to hear, before a step is taken."""
        mixture = self.mixture
        hours = {
            stratum: sum(
                int(self.corpus.examples.samples[part].sum(dtype=np.int64))
                for part in _parts(members)
            )
            / (3600 * SAMPLE_RATE)
            for stratum, members in mixture.members.items()
        }
        sizes = {stratum: len(members) for stratum, members in mixture.members.items()}
        drawn = self._expected_examples()
        return PhaseMixture(name, sizes, hours, drawn, mixture.shares, self._bound)

    def pool(self, heard: Heard, position: DataPosition) -> tuple[list[np.ndarray], int]:
        """The steps of the pool at ``position``, and how many examples are drawn after it.

        A step is an array of positions in ``corpus.examples``. Steps are the same on every process
        and for every number of processes and micro-batches.
        """
        position = DataPosition(position.pool, position.drawn, 0, position.limit)
        kept = self._planned
        if kept is None or kept[0] is not heard or kept[1] != position:
            start, limit = position.drawn, position.limit
            stop = self._pool_end(start)
            steps = self._cut(heard, position.pool, start, stop)
            if limit is not None and len(steps) > limit:
                short, long = start + 1, stop
                while long - short > 1:
                    middle = (short + long) // 2
                    if len(self._cut(heard, position.pool, start, middle)) <= limit:
                        short = middle
                    else:
                        long = middle
                stop, steps = short, self._cut(heard, position.pool, start, short)
            kept = self._planned = (heard, position, steps, stop)
        return kept[2], kept[3]

    def steps(
        self, heard: Heard, start: DataPosition, count: int
    ) -> Iterator[tuple[DataPosition, int, np.ndarray]]:
        """The next ``count`` steps: the position after each, its pool's number, its examples."""
        position = start
        while count > 0:
            if position.step == 0:
                position = DataPosition(position.pool, position.drawn, 0, count)
            steps, drawn = self.pool(heard, position)
            end = DataPosition(position.pool + 1, drawn)
            for number, step in enumerate(steps[position.step :], position.step + 1):
                inside = DataPosition(position.pool, position.drawn, number, position.limit)
                yield end if number == len(steps) else inside, position.pool, step
                count -= 1
                if count == 0:
                    return
            position = end

    def steps_in_epochs(self, heard: Heard, epochs: int) -> int:
        """How many steps the ``epochs`` epochs of a phase have."""
        position, count = DataPosition(heard.pools), 0
        while position.drawn < epochs * self.mixture.size:
            steps, drawn = self.pool(heard, position)
            count += len(steps)
            position = DataPosition(position.pool + 1, drawn)
        return count

    def heard_after(self, heard: Heard, position: DataPosition) -> Heard:
        """What has been heard when the phase ends at ``position``."""
        return self.account(heard, position)()

    def account(self, heard: Heard, position: DataPosition) -> Callable[[], Heard]:
        """What computes `heard_after`: for millions of examples it takes a while, and any thread will do."""
        done: list[np.ndarray] = []
        if position.step:
            done = self.pool(heard, position)[0][: position.step]
        more = np.concatenate([*done, np.empty(0, dtype=np.int64)])
        pools = position.pool + (position.step > 0)
        return partial(self.mixture.heard_after, position.drawn, heard, pools, more)

    def loader(self, heard: Heard, start: DataPosition, count: int) -> Iterator[Step]:
        """The next ``count`` steps of training from ``start``.

        torch's global random state is left alone, so a resumed run draws what it would have drawn.
        """
        return self._load(self.steps(heard, start, count))

    def fixed_pass(self) -> Iterator[list[Batch]]:
        """One pass over all examples in a fixed order with the first wording (validation)."""
        everything = np.concatenate(list(self.mixture.members.values()))
        nowhere = DataPosition()
        steps = self._plan(everything, None)
        return (batches for _, batches in self._load((nowhere, None, step) for step in steps))

    def parts(self, step: np.ndarray) -> list[np.ndarray]:
        """A step's micro-batches on this process; as many on every process.

        Neighbouring parts are alike, so those that the processes compute at the same time are.
        """
        limit, most = self.batch.bins_per_gpu, self.batch.size_per_gpu
        within, cost = np.arange(len(step)), self._cost(step)
        count = self.accum
        if limit is not None or most is not None:
            count = micro_batches_needed(within, self.world, cost, limit, most)
        parts = split_step(within, self.world * count, cost, most)
        return [step[part] for part in parts[self.rank :: self.world]]

    def _load(self, steps: Iterable[tuple[DataPosition, int | None, np.ndarray]]) -> Iterator[Step]:
        begun: collections.deque[tuple[DataPosition, int]] = collections.deque()

        def micro_batches() -> Iterator[tuple[np.ndarray, int | None]]:
            for after, pool, step in steps:
                parts = self.parts(step)
                begun.append((after, len(parts)))
                for part in parts:
                    yield part, pool

        method = self.start_method or _start_method()
        if self.num_workers:
            give_back_memory()
        gc.freeze()  # for the workers: whoever looks through objects for garbage writes to their pages
        batches = iter(
            DataLoader(
                RowDataset(self.corpus, self.seed),
                batch_size=None,
                sampler=micro_batches(),  # any iterable will do
                num_workers=self.num_workers,
                multiprocessing_context=(
                    multiprocessing.get_context(method) if self.num_workers else None
                ),
                worker_init_fn=_start_worker,
                generator=torch.Generator().manual_seed(0),
                pin_memory=self.pin_memory,
            )
        )
        gc.unfreeze()
        for first in batches:
            after, count = begun.popleft()
            yield after, [first, *(next(batches) for _ in range(count - 1))]

    def _pool_end(self, start: int) -> int:
        """Where the pool that begins with the example number ``start`` of the phase ends."""
        size = self.mixture.size
        epoch, offset = divmod(start, size)
        number = offset * self.pools // size + 1
        end = number * size // self.pools
        if end <= offset:  # rounding
            end = (number + 1) * size // self.pools
        return epoch * size + end

    def _cut(self, heard: Heard, pool: int, start: int, stop: int) -> list[np.ndarray]:
        drawn = self.mixture.draw(start, stop, heard)
        return self._plan(drawn, np.random.default_rng([self.seed, pool]))

    def _plan(self, chosen: np.ndarray, rng: np.random.Generator | None) -> list[np.ndarray]:
        """Cut examples into steps (see `plan_steps`)."""
        steps = plan_steps(
            np.arange(len(chosen)),
            self._cost(chosen),
            budget=self.batch.bins,
            max_examples=self.batch.size,
            rng=rng,
        )
        return [chosen[step] for step in steps]

    def _cost(self, chosen: np.ndarray) -> Cost:
        """The cost of batches of some examples, by their places among ``chosen``."""
        return Cost(self.corpus.lengths(chosen), self.batch.encoder_cost)

    def costs(
        self, positions: np.ndarray | range
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of examples each by itself: positions, LLM positions, and costs; a part at a time."""
        for part in _parts(positions):
            lengths = self.corpus.lengths(part)
            yield part, lengths.llm, lengths.llm + self.batch.encoder_cost * lengths.encoder

    def _most_examples(self, size: int, mean_cost: float) -> float:
        """The most examples that the phase draws: padding, which leaves fewer, is not counted.

        Args:
            size: of an epoch. mean_cost: of an example by itself.
        """
        if self.phase_epochs is not None:
            return float(self.phase_epochs * size)
        if self.phase_steps is None:
            raise ValueError("limits need to know how long the phase is")
        of_step = math.inf if self.batch.size is None else float(self.batch.size)
        if self.batch.bins is not None:
            of_step = min(of_step, self.batch.bins / mean_cost)
        return self.phase_steps * of_step

    def _expected_examples(self) -> float:
        """About how many examples the phase draws, from the steps of one pool of them."""
        mixture = self.mixture
        if self.phase_epochs is not None:
            return float(self.phase_epochs * mixture.size)
        if self.phase_steps is None:
            raise ValueError("what is expected depends on how long the phase is")
        ends = np.cumsum(list(mixture.shares.values())) / self.pools
        counts = np.diff(np.round(ends).astype(np.int64), prepend=0)
        chosen = np.concatenate(
            [
                members[np.arange(count) * len(members) // count]
                for members, count in zip(mixture.members.values(), counts.tolist(), strict=True)
                if count
            ]
        )
        return self.phase_steps * len(chosen) / len(self._plan(chosen, np.random.default_rng(0)))

    def _examples_a_step(self) -> int:
        """About how many examples a step holds."""
        most = self.mixture.size if self.batch.size is None else self.batch.size
        if self.batch.bins is not None:
            mixture = self.mixture
            total = sum(
                mixture.shares[stratum] * self._costs[stratum] / len(members)
                for stratum, members in mixture.members.items()
            )
            most = min(most, int(self.batch.bins * self.mixture.size / max(total, 1.0)))
        return max(1, most)

    def _usable(self, tasks: set[str]) -> np.ndarray:
        """Mark what is there and fits the LLM's context and a step; name the rest in ``dropped``."""
        corpus, limit, bins = self.corpus, self.batch.max_llm_length, self.batch.bins
        usable = np.ones(len(corpus.examples), dtype=bool)
        usable[corpus.without_feats] = False
        self.dropped: list[tuple[str, str]] = []
        for positions, llm, costs in self.costs(range(len(usable))):
            too_long = np.zeros(len(positions), dtype=bool) if limit is None else llm > limit
            too_dear = np.zeros_like(too_long) if bins is None else (costs > bins) & ~too_long
            for n in np.flatnonzero(too_long | too_dear | ~usable[positions]).tolist():
                example = corpus.examples[int(positions[n])]
                if example.task in tasks:
                    reason = f"{llm[n]} positions in the LLM, at most {limit} fit"
                    if not usable[positions[n]]:
                        reason = "no cached encoder output"
                    elif too_dear[n]:
                        reason = f"costs {costs[n]:.0f}, and a whole step has {bins:.0f} bins"
                    self.dropped.append((example.utt_id, reason))
            usable[positions] &= ~(too_long | too_dear)
        return usable


class RowDataset(Dataset[Batch]):
    """Micro-batches: an item is (positions of examples, number that chooses their wordings).

    Without a number the first wording of every prompt is taken.
    """

    def __init__(self, corpus: Corpus, seed: int):
        self.corpus = corpus
        self.seed = seed

    def __getitem__(self, item: tuple[np.ndarray, int | None]) -> Batch:
        positions, number = item
        rows: list[Row] = []
        bad: list[tuple[str, str]] = []
        frames = zip(*(counts.tolist() for counts in self.corpus.frames(positions)), strict=True)
        for position, lengths in zip(positions.tolist(), frames, strict=True):
            example = self.corpus.examples[position]
            try:
                rows.append(self._row(example, lengths, number))
            except (BadAudio, DataError) as error:
                bad.append((example.utt_id, str(error)))
        return collate(rows, self.corpus.chat.pad_token_id, bad)

    def _row(self, example: Example, frames: tuple[int, int], number: int | None) -> Row:
        return make_row(
            example,
            self.corpus.prompts,
            self.corpus.chat,
            wording=self.corpus.prompts.choose(example, self.seed, number),
            frames=frames,
        )


def _parts(positions: np.ndarray | range) -> Iterator[np.ndarray]:
    """Positions, so many at a time that their numbers take little memory."""
    for start in range(0, len(positions), _AT_ONCE):
        part = positions[start : start + _AT_ONCE]
        yield part if isinstance(part, np.ndarray) else np.arange(part.start, part.stop)


def _check_samples(examples: Examples, where: str) -> None:
    unknown = np.flatnonzero(examples.samples < 0)
    if len(unknown):
        raise DataError(
            f"{where}: {len(unknown)} utterances without utt2num_samples (first: "
            f"{examples[int(unknown[0])].utt_id}); run part_format_data on the directory"
        )


def give_back_memory() -> None:
    """Return to the system what this process has freed.

    Else its workers would inherit the free pages, and keep them when this process writes there again.
    """
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _start_method() -> str:
    """Fork where there is one: the workers share the examples' memory and use no accelerator."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)  # workers read and pad; more threads would only take the cores
