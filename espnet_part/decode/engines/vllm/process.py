"""The process that runs vLLM, as its parent sees it."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterable
from typing import Any, BinaryIO, cast

import torch
from safetensors.torch import save

from espnet_part.decode.engines.base import Answer
from espnet_part.decode.engines.vllm import program
from espnet_part.display import plain
from espnet_part.errors import DataError

_LOG_LINES = 20  # that are shown of a process that died
_GRACE = 10.0  # seconds in which it ends when it is told to


class Process:
    """Starts the program, waits until it has loaded the LLM, and talks with it.

    Args:
        python: of an environment that has vLLM.
        settings: see `espnet_part.decode.engines.vllm.program.main`.

    Raises:
        DataError: it has ended; so do the methods.
    """

    def __init__(self, python: str, settings: dict[str, Any]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        self._popen = subprocess.Popen(
            [python, "-I", str(program.__file__), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        self._stdin = cast(BinaryIO, self._popen.stdin)
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        listener = threading.Thread(
            target=_listen, args=(self._popen.stdout, self._inbox), name="vllm", daemon=True
        )
        listener.start()  # its pipe must never be full
        self._end = weakref.finalize(self, _end, self._popen, listener)
        self._requests = 0
        self._receive(None)  # that it is ready

    def ask(self, embeddings: torch.Tensor, limit: int) -> int:
        """Ask for the answer to a prompt, (T, dim); gives the request's number."""
        self._requests += 1
        prompt = save({"embeddings": embeddings.contiguous()})
        self._send(json.dumps({"prompt": self._requests, "limit": limit}).encode(), prompt)
        return self._requests

    def answer(self, patience: float | None) -> tuple[int, Answer | DataError] | None:
        """A request's number and its answer; None where none comes in so many seconds (None: waits)."""
        try:
            message = self._receive(patience)
        except queue.Empty:
            return None
        if "error" in message:
            return message["answer"], DataError(plain(message["error"], 300))
        return message["answer"], Answer(message["tokens"], message["score"])

    def forget(self, requests: Iterable[int]) -> None:
        """Do not answer these any more."""
        self._send(json.dumps({"forget": list(requests)}).encode())

    def _send(self, *frames: bytes) -> None:
        try:
            for frame in frames:
                program.write_frame(self._stdin, frame)
        except (OSError, ValueError):  # a broken pipe, or one that was closed
            raise self._ended() from None

    def _receive(self, patience: float | None) -> dict[str, Any]:
        frame = self._inbox.get(timeout=patience)
        if frame is None:
            self._inbox.put(None)  # it stays so
            raise self._ended()
        return cast(dict[str, Any], json.loads(frame))

    def _ended(self) -> DataError:
        self._end()
        status = self._popen.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line]
        for line in lines[-_LOG_LINES:]:
            logging.info("vLLM: %s", plain(line, 500))
        last = plain(lines[-1].strip(), 300) if lines else "it said nothing"
        return DataError(f"the engine vllm: its process {how}: {last}")


def _listen(stream: BinaryIO, inbox: queue.SimpleQueue[bytes | None]) -> None:
    while (frame := program.read_frame(stream)) is not None:
        inbox.put(frame)
    inbox.put(None)


def _end(popen: subprocess.Popen[bytes], listener: threading.Thread) -> None:
    """End the process, if it has not ended."""
    assert popen.stdin is not None
    try:
        popen.stdin.close()
        popen.wait(_GRACE)
    except (OSError, subprocess.TimeoutExpired):  # a frame that it did not take; it is stuck
        popen.kill()
        popen.wait()
    listener.join(_GRACE)
