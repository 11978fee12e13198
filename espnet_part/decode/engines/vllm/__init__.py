"""The LLM as vLLM runs it, in a process of vLLM's own environment (tools/setup_vllm.sh)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import espnet_part
from espnet_part.decode.budget import Budget
from espnet_part.decode.engines.base import Answer, Prompt
from espnet_part.decode.engines.vllm.process import Process
from espnet_part.decode.halving import free_memory
from espnet_part.decode.search import Search
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.llm import LLM
from espnet_part.model.lora import merge_lora
from espnet_part.pack.export import save_causal_lm

PYTHON = "PART_VLLM_PYTHON"  # names the Python that has vLLM
_OWN = Path(espnet_part.__file__).parents[1] / "tools/venv-vllm"
_PATIENCE = 0.02  # seconds that answers are waited for before the next prompt is asked for again
_END = object()


class Engine:
    """Answers prompts by vLLM, greedily; encoder and adapter go on meanwhile.

    The LLM is handed over: LoRA is merged into its weights, which are written to a temporary
    directory until vLLM has read them, and given up here, but for the table of embeddings.

    Args: see `espnet_part.decode.engines.base.Engine`.

    Raises:
        ConfigError: as `check`.
        DataError: vLLM cannot run the LLM.
    """

    def __init__(
        self,
        llm: LLM,
        search: Search,
        budget: Budget,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.check(search, budget)
        self.budget = budget
        self.dtype = llm.dtype
        self._asked: set[int] = set()  # the process's numbers of all that is waited for
        self._answers: dict[int, Answer | Exception] = {}  # that have not been taken
        settings = {
            "dtype": str(llm.dtype).removeprefix("torch."),
            "slots": budget.batch_size,
            "ends": llm.end_token_ids,
            "device": next(llm.parameters()).device.type,
        }
        with tempfile.TemporaryDirectory(prefix="espnet_part_vllm.") as directory:
            merge_lora(llm.model, llm.dtype)
            save_causal_lm(llm.model, Path(directory))
            _give_up(llm)
            self._process = Process(find_python(), {"model": directory, **settings})

    @classmethod
    def check(cls, search: Search, budget: Budget) -> None:
        """See `espnet_part.decode.engines.base.Engine`."""
        if search.beam_size > 1:
            raise ConfigError(
                f"beam_size: {search.beam_size}: the engine vllm searches greedily; beams are searched"
                " by the engine transformers"
            )
        if budget.batch_bins is not None:
            raise ConfigError(
                f"batch_bins: {budget.batch_bins}: the engine vllm shares out its memory itself; it takes"
                " batch_size, the most utterances at once"
            )
        find_python()

    def generate(
        self, prompts: Iterable[Prompt | Exception | None]
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """See `espnet_part.decode.engines.base.Engine`; what gives the prompts may itself ask for answers.

        Raises:
            DataError: the process has ended.
        """
        waiting = iter(prompts)
        asked: dict[int, int] = {}  # the numbers here of what the process was asked
        number = 0
        more = True
        try:
            while more or asked:
                while more and len(asked) < self.budget.batch_size:
                    prompt = next(waiting, _END)
                    if prompt is _END:
                        more = False
                    elif prompt is None:
                        break
                    elif isinstance(prompt, Prompt):
                        embeddings = prompt.embeddings.to("cpu", self.dtype)
                        request = self._process.ask(embeddings, prompt.limit)
                        asked[request] = number
                        self._asked.add(request)
                        number += 1
                    elif isinstance(prompt, Exception):
                        yield number, prompt
                        number += 1
                if not asked:
                    continue
                patience = _PATIENCE if more and len(asked) < self.budget.batch_size else None
                for request in self._answered(asked, patience):
                    self._asked.remove(request)
                    yield asked.pop(request), self._answers.pop(request)
        finally:
            if asked:  # nobody takes them any more
                self._asked -= asked.keys()
                for request in asked:
                    self._answers.pop(request, None)
                with contextlib.suppress(DataError):
                    self._process.forget(asked)

    def _answered(self, asked: Mapping[int, int], patience: float | None) -> list[int]:
        """Those of the requests that have been answered, after a while."""
        if not asked.keys() & self._answers.keys():
            done = self._process.answer(patience)
            if (
                done is not None and done[0] in self._asked
            ):  # by whatever stream; none that was forgotten
                self._answers[done[0]] = done[1]
        return [request for request in asked if request in self._answers]


def find_python() -> str:
    """The Python that runs vLLM: the one that is named, this one if it can, or the checkout's.

    Raises:
        ConfigError: there is none.
    """
    if named := os.environ.get(PYTHON):
        if not os.access(named, os.X_OK):
            raise ConfigError(f"{PYTHON}: {named}: no such program")
        return named
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    # not through the link, which may lead elsewhere later: what starts in an environment ends in it
    python = _OWN.resolve() / "bin/python"
    if not os.access(python, os.X_OK):
        raise ConfigError(
            "the engine vllm: vLLM is not installed: call tools/setup_vllm.sh, or name the Python of an"
            f" environment that has it with the variable {PYTHON}"
        )
    return str(python)


def _give_up(llm: LLM) -> None:
    """Free the LLM's weights, but for the table of embeddings, which makes prompts."""
    kept = {id(parameter) for parameter in llm.embedding.parameters()}
    for parameter in llm.model.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.data.new_empty(0)
    free_memory()
