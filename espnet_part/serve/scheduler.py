"""One thread that owns the model, and one queue of windows of all clients.

Clients take turns: a batch begins with the first window of the client that was served longest ago,
and is filled with those, among the next in turn, that are most like it in length. Who is passed over
for that is in the next batch. So what is encoded together has little padding, and a long file delays
nobody much. The model asks for one window after the other when it has room, so short answers are
given while long ones are written.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np

from espnet_part.decode.direction import Direction
from espnet_part.decode.halving import reason_of, run_or_name
from espnet_part.serve.errors import ApiError, Gone
from espnet_part.serve.metrics import Metrics
from espnet_part.serve.model import Decoded
from espnet_part.serve.settings import Settings

_POOL = 2  # batches of windows, next in turn, among which those of like length are chosen
_HOPELESS = 20  # windows that failed one after the other: the model or the device is broken


class Model(Protocol):
    """What the scheduler needs of a model."""

    def detect(self, direction: Direction, samples: np.ndarray) -> Decoded:
        """Which language is spoken in a window, of a direction without one."""

    def decode_stream(
        self, windows: Iterable[tuple[Direction, np.ndarray] | None]
    ) -> Iterator[tuple[int, Decoded | None, str]]:
        """Decode windows; see `espnet_part.serve.model.ServedModel`."""


class Undecodable(Exception):
    """A window that cannot be decoded even alone; the message is the reason."""


@dataclass(eq=False)
class _Waiting:
    direction: Direction
    samples: np.ndarray
    future: Future[Decoded]
    passed_over: bool = False


class Scheduler:
    """Decodes the windows of all clients.

    Args:
        settings: ``queue_size`` and ``batch_size`` count.
        metrics: told of batches.
    """

    def __init__(self, settings: Settings, metrics: Metrics):
        self.settings, self.metrics = settings, metrics
        self.failing = 0  # windows, one after the other
        self._changed = threading.Condition()
        self._clients: dict[Client, None] = {}  # the one that was served longest ago is the first
        self._model: Model | None = None
        self._stopping = False
        self._taken: deque[_Waiting] = deque()  # in turn, and not yet asked for by the model
        self._underway: dict[int, _Waiting] = {}  # what the model has, by its number
        self._seconds = 1.0  # of a window, about
        self._since = 0.0  # when the model began on what it does, or gave an answer
        self._thread: threading.Thread | None = None

    def start(
        self,
        load: Callable[[], Model],
        failed: Callable[[BaseException], None],
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the model in the thread that will own it, and begin.

        Args:
            failed: called in the thread when the model cannot be loaded.
            ready: called in the thread when clients are admitted.
        """

        def run() -> None:
            try:
                model = load()
            except BaseException as error:
                failed(error)
                return
            with self._changed:
                self._model = model
            ready()
            self._work(model)

        # a batch that takes longer than anybody waits must not keep the process alive
        self._thread = threading.Thread(target=run, name="scheduler", daemon=True)
        self._thread.start()

    def state(self) -> str:
        """ "ok", or why there are no answers: "loading", "failing" or "stopping"."""
        if self._stopping:
            return "stopping"
        if self._model is None:
            return "loading"
        return "ok" if self.failing < _HOPELESS else "failing"

    def admit(self) -> Client:
        """Make place for a request.

        Raises:
            ApiError: 503 while the model is loaded or the server stops; 429 when too many are
                at work.
        """
        with self._changed:
            if self._stopping:
                raise ApiError(503, "the server is stopping", "stopping", retry_after=10)
            if self._model is None:
                raise ApiError(503, "the model is still being loaded", "loading", retry_after=5)
            if len(self._clients) >= self.settings.queue_size:
                wait = max(1, round(self.waiting() * self._seconds))
                message = (
                    f"{len(self._clients)} requests are at work, which is the limit; try later"
                )
                raise ApiError(429, message, "busy", retry_after=min(wait, 600))
            client = Client(self)
            self._clients[client] = None
            self._changed.notify_all()
            return client

    def waiting(self) -> int:
        """How many windows wait."""
        return sum(len(client._waiting) for client in list(self._clients))

    def clients(self) -> int:
        """How many requests are at work."""
        return len(self._clients)

    def stop(self) -> None:
        """Admit nobody any more; who is admitted goes on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Admit nobody, and forget all that wait."""
        self.stop()
        for client in list(self._clients):
            client.drop()

    def end(self, seconds: float) -> bool:
        """Forget all that wait, and wait for the thread.

        Returns:
            Whether it has ended.
        """
        self.drop()
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _work(self, model: Model) -> None:
        going = True
        while going:
            try:
                for number, decoded, reason in model.decode_stream(self._windows(model)):
                    self._answer(self._underway.pop(number), decoded, reason)
                going = False
            except Exception as error:  # of none of the windows, and all that it had are lost
                logging.exception("the model failed")
                lost, self._underway = self._underway, {}
                for one in lost.values():
                    self._answer(one, None, reason_of(error))

    def _windows(self, model: Model) -> Iterator[tuple[Direction, np.ndarray] | None]:
        """What the model is to decode; None where nothing waits and it has something to do."""
        number = 0
        while self._take():
            if not self._taken:
                yield None
            while self._taken:
                one = self._taken.popleft()
                if not one.future.set_running_or_notify_cancel():
                    continue
                if not one.direction.lang:
                    self._detect(model, one)
                    continue
                self._underway[number] = one
                number += 1
                yield one.direction, one.samples

    def _take(self) -> bool:
        """Take the next windows in turn, and none while the model has others; False when all is over."""
        with self._changed:
            while not self._taken:
                self._taken.extend(self._next_batch())
                if self._taken or self._underway:
                    break
                if self._stopping and not self._clients:
                    return False
                self._changed.wait()
                self._since = time.perf_counter()
            self._changed.notify_all()
            return True

    def _detect(self, model: Model, one: _Waiting) -> None:
        ((_, decoded, reason),) = run_or_name(
            [one], lambda part: [model.detect(each.direction, each.samples) for each in part]
        )
        self._answer(one, decoded, reason)

    def _next_batch(self) -> list[_Waiting]:
        size = self.settings.batch_size
        queues = [client._waiting for client in self._clients]
        turns = (one for turn in itertools.zip_longest(*queues) for one in turn if one is not None)
        pool = list(itertools.islice(turns, _POOL * size))
        if not pool:
            return []
        first = len(pool[0].samples)
        order = sorted(
            pool[1:], key=lambda one: (not one.passed_over, abs(len(one.samples) - first))
        )
        batch = [pool[0], *order[: size - 1]]
        taken = set(map(id, batch))
        for one in pool[:size]:
            one.passed_over = True
        for client in list(self._clients):
            kept = [one for one in client._waiting if id(one) not in taken]
            if len(kept) < len(client._waiting):
                client._waiting = deque(kept)
                del self._clients[client]  # to the end of the turns
                self._clients[client] = None
        return batch

    def _answer(self, one: _Waiting, decoded: Decoded | None, reason: str) -> None:
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        self._seconds = 0.9 * self._seconds + 0.1 * seconds
        self.metrics.window(len(self._underway) + 1, len(one.samples), seconds)
        if decoded is None:
            self.failing += 1
            logging.warning("a window cannot be decoded: %s", reason)
            one.future.set_exception(Undecodable(reason))
        else:
            self.failing = 0
            one.future.set_result(decoded)


class Client:
    """A request's place in the queue; it is to be closed, or used as a context."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._changed = scheduler._changed
        self._waiting: deque[_Waiting] = deque()
        self._unfinished = 0
        self.dropped = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, direction: Direction, samples: np.ndarray) -> Future[Decoded]:
        """Put a window into the queue, and wait until there is room for it.

        Raises:
            Gone: the request was dropped.
        """
        with self._changed:
            while not self.dropped and len(self._waiting) >= self._share():
                self._changed.wait()
            if self.dropped:
                raise Gone
            return self._put(direction, samples)

    def try_submit(self, direction: Direction, samples: np.ndarray) -> Future[Decoded] | None:
        """Put a window into the queue; None where there is no room for it at once."""
        with self._changed:
            if self.dropped or len(self._waiting) >= self._share():
                return None
            return self._put(direction, samples)

    def drop(self) -> None:
        """Forget what waits; nothing more can be put in."""
        with self._changed:
            self.dropped = True
            while self._waiting:
                future = self._waiting.popleft().future
                if future.set_running_or_notify_cancel():
                    future.set_exception(Gone())
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all its windows are decoded, and give the place back."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unfinished)
        self.close()

    def close(self) -> None:
        """Give the place back."""
        self.drop()
        with self._changed:
            self._scheduler._clients.pop(self, None)
            self._changed.notify_all()

    def _put(self, direction: Direction, samples: np.ndarray) -> Future[Decoded]:
        future: Future[Decoded] = Future()
        self._unfinished += 1
        future.add_done_callback(self._finished)
        self._waiting.append(_Waiting(direction, samples, future))
        self._changed.notify_all()
        return future

    def _finished(self, future: Future[Decoded]) -> None:
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def _share(self) -> int:
        """Windows of one request that may wait: what fills a pool, while there is room for all."""
        settings = self._scheduler.settings
        share = settings.queue_size // max(1, len(self._scheduler._clients))
        return max(1, min(share, _POOL * settings.batch_size))
