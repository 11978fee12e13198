"""Writes what a training saves while the training goes on: a copy is taken, and a thread writes it."""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import torch

from espnet_part.train.nested import map_tensors

Value = TypeVar("Value")
SECONDS_TO_MENTION = 0.1


class Writer:
    """One copy and one writing at a time; what follows waits for it.

    As a context it ends when all is written. A thread is enough: what takes long in writing
    (hashes, files, the disk) lets go of Python's lock.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "writer")
        self._writing: Future[None] | None = None
        #: Memory of the last copy by shape and type: pages that are new, or pinned anew, cost time.
        self._memory: dict[Any, list[torch.Tensor]] = {}

    def get_ready(self) -> None:
        """Wait until what was begun is written, so that the next copy can be taken.

        Raises:
            Exception: as `wait`.
        """
        began = time.perf_counter()
        self.wait()
        waited = time.perf_counter() - began
        if waited > SECONDS_TO_MENTION:
            logging.warning(
                "the training has waited %.1f s until the checkpoint before was written; a larger "
                "--save_interval or a faster disk would spare that",
                waited,
            )

    def copy(
        self, value: Value, whole: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor
    ) -> Value:
        """Copy nested dicts, lists and tuples, and their tensors into the computer's memory.

        The copy lasts until the next one is taken; nothing may be under way then.

        Args:
            whole: what to copy of a tensor, which is let go before the next.
        """
        free, self._memory = self._memory, collections.defaultdict(list)

        def into_memory(part: torch.Tensor) -> torch.Tensor:
            tensor = whole(part.detach())
            key = (tensor.shape, tensor.dtype, tensor.is_cuda)
            if free.get(key):
                memory = free[key].pop()
            else:
                memory = torch.empty(
                    tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.is_cuda
                )
            self._memory[key].append(memory)
            return memory.copy_(tensor, non_blocking=True)

        copied: Value = map_tensors(into_memory, value)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # the thread may read it, and the next step may change it
        return copied

    def start(self, write: Callable[[], None]) -> None:
        """Let the thread ``write``; nothing else may be under way."""
        self._writing = self._threads.submit(write)

    @property
    def has_failed(self) -> bool:
        """Whether what was to be written could not be; `wait` raises why."""
        writing = self._writing
        return writing is not None and writing.done() and writing.exception() is not None

    def wait(self) -> None:
        """Return when all is written.

        Raises:
            Exception: of the writing.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except Exception as own:
            if error is None:
                raise
            logging.error("what was being written is lost: %s", own)  # beside what ends the run
        finally:
            self._threads.shutdown()
