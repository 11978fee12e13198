"""The LLM as transformers runs it; in greedy search, rows come and go at every step."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from espnet_part.decode.budget import Budget
from espnet_part.decode.engines.base import Answer, Prompt
from espnet_part.decode.engines.transformers.rows import Rows, keeps_all
from espnet_part.decode.halving import free_memory, reason_of, run_or_name
from espnet_part.decode.search import Search
from espnet_part.errors import DataError
from espnet_part.model.llm import LLM

_REFILL = 4  # a quarter of the budget is free before prompts are read: faster than one by one


@dataclass
class _Row:
    """A prompt that is being answered."""

    number: int
    prompt: Prompt
    tokens: list[int] = field(default_factory=list)
    score: float = 0.0
    ended: bool = False

    def add(self, token: int, log_probability: float, ends: Sequence[int]) -> None:
        self.score += log_probability
        if token in ends:
            self.ended = True
            return
        self.tokens.append(token)
        self.ended = len(self.tokens) >= self.prompt.limit

    @property
    def answer(self) -> Answer:
        return Answer(self.tokens, self.score)


class Engine:
    """Answers prompts by the LLM of a model that is in memory.

    Greedy search reads new prompts whenever a quarter of the budget is free, beside those that are
    being answered, so no step is computed for rows that have ended. Beam search, and LLMs that keep
    something else than keys and values, answer a batch after the other.

    Args:
        llm: the language model.
        search: how answers are searched.
        budget: most prompts at once; halved when the memory is full. In beam search a prompt has its
            positions once for each hypothesis.
        context: what the model runs in, such as autocast; entered for each piece of work, since
            between two of them others run.
    """

    def __init__(
        self,
        llm: LLM,
        search: Search,
        budget: Budget,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.llm = llm
        self.search = search
        self.budget = budget
        self.context = context
        self.continuous = search.beam_size == 1 and keeps_all(llm.model)

    @classmethod
    def check(cls, search: Search, budget: Budget) -> None:
        """See `espnet_part.decode.engines.base.Engine`: it can do all of it, everywhere."""

    def generate(
        self, prompts: Iterable[Prompt | Exception | None]
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """See `espnet_part.decode.engines.base.Engine`."""
        yield from self._answer(_Waiting(prompts))

    def _answer(self, waiting: _Waiting) -> Iterator[tuple[int, Answer | Exception]]:
        while waiting:
            if self.continuous:
                yield from self._continuously(waiting)
            else:
                yield from self._batch(waiting.take(self.budget.beams(self.search.beam_size)))
            yield from waiting.failed()

    def _continuously(self, waiting: _Waiting) -> Iterator[tuple[int, Answer | Exception]]:
        """Answer until nothing runs, or what runs has failed."""
        rows = Rows()
        running: list[_Row] = []
        later: list[_Row] = []
        while True:
            failure = None
            free = self.budget.most - self.budget.cost(_sizes(running))
            if not later and free >= max(1, self.budget.most // _REFILL):
                prompts = waiting.take(self.budget, running)
                failure = yield from self._admit(prompts, rows, running, later)
                yield from waiting.failed()
            if not running:
                break
            failure = failure or self._try_step(rows, running)
            if failure is not None:
                del rows  # its memory may be what is missing
                yield from self._separately(running, failure)
                break
            for place in reversed(range(len(running))):
                if running[place].ended:
                    yield running[place].number, running[place].answer
                    rows.leave(place)
                    running[place] = running[-1]
                    running.pop()
        if later:
            yield from self._answer(_Waiting.again(later))

    def _admit(
        self, prompts: Sequence[_Row], rows: Rows, running: list[_Row], later: list[_Row]
    ) -> Generator[tuple[int, Answer | Exception], None, Exception | None]:
        """Read prompts and decide on their first tokens; those that go on join what runs.

        Args:
            later: gets those that cannot be read beside others, for lack of memory perhaps: no more are
                admitted until they have been answered.

        Returns:
            Why not all of ``running`` have joined the rows.
        """
        failure: Exception | None = None
        sizes = _sizes([*running, *prompts])
        rows.reserve(len(sizes), max(sizes, default=0))
        for alike in _of_like_length(prompts):
            if failure is not None:
                running += alike
                continue
            for row, read, reason in run_or_name(alike, self._read):
                if read is None and running:
                    later.append(row)
                    continue
                if read is None:
                    yield row.number, DataError(reason)
                    continue
                cache, place, token, log_probability = read
                row.add(token, log_probability, self.llm.end_token_ids)
                if row.ended:
                    yield row.number, row.answer
                    continue
                running.append(row)
                if failure is None:
                    try:
                        rows.join(cache, place, len(row.prompt.embeddings))
                    except Exception as error:
                        failure = error.with_traceback(None)
        return failure

    def _read(self, group: Sequence[_Row]) -> list[tuple[DynamicCache, int, int, float]]:
        """Run the model over prompts: (cache, place in it, next token, its log probability) of each."""
        embeddings, mask = _pad_left([row.prompt.embeddings for row in group])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        with self.context():
            hidden = self.llm.hidden(embeddings, mask, positions, cache)
            chosen = self._choose(hidden)
        return [(cache, place, *best) for place, best in enumerate(chosen)]

    def _try_step(self, rows: Rows, running: Sequence[_Row]) -> Exception | None:
        """Add a token to each row; what went wrong, if something did."""
        device = running[0].prompt.embeddings.device
        try:
            with self.context():
                tokens = torch.tensor([[row.tokens[-1]] for row in running], device=device)
                mask = rows.mask(device)
                positions = mask.sum(1, keepdim=True) - 1
                hidden = self.llm.hidden(self.llm.embedding(tokens), mask, positions, rows.cache)
                chosen = self._choose(hidden)
            rows.advance()
        except Exception as error:
            return error.with_traceback(None)  # which holds on to the memory
        for row, best in zip(running, chosen, strict=True):
            row.add(*best, self.llm.end_token_ids)
        return None

    def _choose(self, hidden: Tensor) -> list[tuple[int, float]]:
        """The likeliest token behind each row's last position, and its log probability."""
        logits = self.llm.logits(hidden[:, -1]).float()
        tokens = logits.argmax(-1, keepdim=True)
        scores = logits.gather(1, tokens)[:, 0] - logits.logsumexp(-1)
        return list(zip(tokens[:, 0].tolist(), scores.tolist(), strict=True))

    def _separately(
        self, running: Sequence[_Row], failure: Exception
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Answer rows that failed together again, in halves."""
        if len(running) == 1:
            yield running[0].number, DataError(reason_of(failure))
            return
        free_memory()
        half = len(running) // 2
        if isinstance(failure, torch.OutOfMemoryError):
            self.budget = self.budget.half_of(_sizes(running))
        logging.info("%d rows at once failed and are halved: %s", len(running), reason_of(failure))
        for rows in (running[:half], running[half:]):
            yield from self._answer(_Waiting.again(rows))

    def _batch(self, group: Sequence[_Row]) -> Iterator[tuple[int, Answer | Exception]]:
        for row, answer, reason in run_or_name(group, self._generate):
            yield row.number, DataError(reason) if answer is None else answer

    def _generate(self, group: Sequence[_Row]) -> list[Answer]:
        embeddings, mask = _pad_left([row.prompt.embeddings for row in group])
        limits = torch.tensor([row.prompt.limit for row in group], device=mask.device)
        search = self.search
        with self.context():
            ids, scores = self.llm.generate(
                embeddings, mask, limits, search.beam_size, search.length_penalty, search.nbest
            )
        answers = [Answer(*each) for each in zip(ids, scores, strict=True)]
        return [
            answers[n]._replace(others=tuple(answers[n + 1 : n + search.nbest]))
            for n in range(0, len(answers), search.nbest)
        ]


class _Waiting:
    """Prompts that are still to be answered."""

    def __init__(self, prompts: Iterable[Prompt | Exception | None]) -> None:
        self._prompts = iter(prompts)
        self._number: Iterator[int] = itertools.count()
        self._failed: list[tuple[int, Exception]] = []
        self._more = True
        self._next: _Row | None = None  # had no room the last time

    @classmethod
    def again(cls, rows: Sequence[_Row]) -> _Waiting:
        """Rows from their beginning, with the numbers that they have."""
        waiting = cls(row.prompt for row in rows)
        waiting._number = iter([row.number for row in rows])
        return waiting

    def __bool__(self) -> bool:
        return self._more or self._next is not None

    def take(self, budget: Budget, running: Sequence[_Row] = ()) -> list[_Row]:
        """The next prompts, as many as there are at present and have room beside those that run."""
        rows: list[_Row] = []
        sizes = _sizes(running)
        while budget.fits([*sizes, 0]) and (row := self._coming()) is not None:
            sizes.append(row.prompt.positions)
            if not budget.fits(sizes):
                break
            rows.append(row)
            self._next = None
        return rows

    def _coming(self) -> _Row | None:
        """The next prompt, if there is one at present."""
        if self._next is None and self._more:
            try:
                prompt = next(self._prompts)
            except StopIteration:
                self._more = False
                return None
            if isinstance(prompt, Exception):
                self._failed.append((next(self._number), prompt))
            elif prompt is not None:
                self._next = _Row(next(self._number), prompt)
        return self._next

    def failed(self) -> list[tuple[int, Exception]]:
        """Those that could not be made, since this was asked last."""
        failed, self._failed = self._failed, []
        return failed


def _sizes(rows: Sequence[_Row]) -> list[int]:
    return [row.prompt.positions for row in rows]


def _of_like_length(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Groups of rows that are read together with little padding."""
    group: list[_Row] = []
    for row in sorted(rows, key=lambda row: -len(row.prompt.embeddings)):
        if group and len(group[0].prompt.embeddings) > 1.5 * len(row.prompt.embeddings):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _pad_left(prompts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings (B, T, dim), and a mask (B, T) that is true at tokens."""
    embeddings = pad_sequence(list(prompts), batch_first=True, padding_side="left")
    longest = embeddings.shape[1]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=embeddings.device)
    mask = torch.arange(longest, device=embeddings.device) >= longest - lengths[:, None]
    return embeddings, mask
