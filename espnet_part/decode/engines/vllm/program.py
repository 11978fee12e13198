"""Runs vLLM; started by this package's `Engine` with the Python of vLLM's own environment.

Usage: python program.py SETTINGS (JSON: see `main`). Messages come on standard input and go to
standard output, what vLLM prints goes to standard error. Ends when standard input does, as it does
when whoever started it ends. Imports nothing of this package.

A message is a frame of JSON, and that of a prompt is followed by a frame of safetensors::

    {"prompt": number, "limit": most tokens}, then its `embeddings`, (T, dim)
    {"forget": [number, ...]}

    {"ready": true}                                            once, when the model is loaded
    {"answer": number, "tokens": [...], "score": log probability}
    {"answer": number, "error": why there is none}
"""

import json
import os
import queue
import signal
import struct
import sys
import threading
import traceback
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<Q")
_POSITIONS = 2048  # of a prompt and its answer, about; while there are longer ones, others wait
_LONGEST = 16384  # positions of the longest prompt and its answer, where the LLM's context has more
_SHARE = 0.8  # of the GPU's memory that is free; encoder and adapter need some, too


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write bytes with their length in front."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """Read what `write_frame` wrote; None at the end, be it in the middle of a frame."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None


def load(settings: dict[str, Any]) -> Any:
    """Start vLLM's engine in this process; see `main`."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # no third process
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # the parent says how many, not where
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    import torch
    from vllm import EngineArgs, LLMEngine

    arguments = EngineArgs(
        model=settings["model"],
        dtype=settings["dtype"],
        max_num_seqs=settings["slots"],
        max_model_len=-1,  # the LLM's context, or what fits into the memory
        enable_prompt_embeds=True,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        generation_config="vllm",  # the LLM's own would sample
        disable_log_stats=True,
        enforce_eager=settings["device"] == "cpu",  # compiling takes a compiler, and half a minute
    )
    if settings["device"] == "cpu":
        config = arguments.create_engine_config()
        model, parallel = config.model_config, config.parallel_config
        config.cache_config.kv_cache_memory_bytes = (
            max(settings["slots"] * _POSITIONS, min(model.max_model_len, _LONGEST))
            * model.get_num_layers(parallel)
            * 2  # keys and values
            * model.get_num_kv_heads(parallel)
            * model.get_head_size()
            * model.dtype.itemsize
        )
        return LLMEngine.from_vllm_config(config)
    free, total = torch.cuda.mem_get_info()
    arguments.gpu_memory_utilization = _SHARE * free / total
    return LLMEngine.from_engine_args(arguments)


class Requests:
    """What vLLM is asked, and what it answers.

    Args:
        engine: vLLM's.
        ends: tokens that end an answer.
    """

    def __init__(self, engine: Any, ends: list[int]) -> None:
        self.engine = engine
        self.ends = frozenset(ends)
        self.names: dict[int, str] = {}  # vLLM's name of a prompt

    def add(self, number: int, limit: int, content: bytes) -> None:
        """Ask for an answer.

        Args:
            content: the frame of safetensors.

        Raises:
            ValueError: vLLM cannot take the prompt.
        """
        from safetensors.torch import load as load_tensors
        from vllm import SamplingParams
        from vllm.inputs import embeds_input
        from vllm.sampling_params import RequestOutputKind

        embeddings = load_tensors(content)["embeddings"]
        room = self.engine.model_config.max_model_len
        if len(embeddings) + limit > room:  # it would be cut off without a word
            raise ValueError(
                f"{len(embeddings)} positions of prompt and {limit} of its answer; there is room for {room}"
            )
        greedily = SamplingParams(
            temperature=0.0,
            max_tokens=limit,
            stop_token_ids=sorted(self.ends),
            ignore_eos=True,  # of the model's configuration
            logprobs=0,  # of the tokens that are chosen
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.names[number] = self.engine.add_request(
            str(number), embeds_input(embeddings), greedily
        )

    def forget(self, numbers: list[int]) -> None:
        """Nobody waits for these answers any more."""
        names = [self.names.pop(number) for number in numbers if number in self.names]
        self.engine.abort_request(names, internal=True)

    def step(self) -> list[dict[str, Any]]:
        """Go a step; the answers that are done."""
        done = []
        for output in self.engine.step():
            if output.finished and self.names.pop(int(output.request_id), None):
                (best,) = output.outputs
                tokens = list(best.token_ids)
                if tokens and tokens[-1] in self.ends:
                    tokens.pop()
                score = float(best.cumulative_logprob)
                done.append({"answer": int(output.request_id), "tokens": tokens, "score": score})
        return done


def _listen(stream: BinaryIO, inbox: "queue.SimpleQueue[tuple[dict[str, Any], bytes]]") -> None:
    while (frame := read_frame(stream)) is not None:
        message, content = json.loads(frame), b""
        if "prompt" in message:
            content = read_frame(stream) or b""
        inbox.put((message, content))
    os._exit(0)  # in the middle of whatever is being done: nobody waits for it


def main() -> None:
    """Serve until standard input ends.

    The settings are ``model``, a directory as transformers saves it; ``dtype``, ``slots`` (most
    prompts at once), ``ends`` (tokens that end an answer) and ``device`` ("cpu" or "cuda").
    """
    settings = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print what they like
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is whoever started it's to hear
    inbox: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, inbox), daemon=True).start()
    try:
        _serve(settings, inbox, out)
    except BaseException as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        print(*reason.split(), file=sys.stderr)  # of all this the last line is shown
        sys.stderr.flush()
        os._exit(1)  # an exit that waits for threads would wait for standard input


def _serve(
    settings: dict[str, Any],
    inbox: "queue.SimpleQueue[tuple[dict[str, Any], bytes]]",
    out: BinaryIO,
) -> None:
    def tell(message: dict[str, Any]) -> None:
        write_frame(out, json.dumps(message).encode())

    requests = Requests(load(settings), settings["ends"])
    tell({"ready": True})
    while True:
        while not requests.names or not inbox.empty():
            message, content = inbox.get()
            if "forget" in message:
                requests.forget(message["forget"])
                continue
            try:
                requests.add(message["prompt"], message["limit"], content)
            except ValueError as error:
                tell({"answer": message["prompt"], "error": " ".join(str(error).split())})
        for answer in requests.step():
            tell(answer)


if __name__ == "__main__":
    main()
