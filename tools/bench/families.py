"""Which families of LLMs the engine vllm decodes: the column `vLLM` of docs/llms.md.

    python tools/bench/families.py                # all of them, about a minute each
    python tools/bench/families.py qwen3 gemma2

Builds each family of tests/model/test_families.py with tiny random weights, in float32 and in a process of
its own, and compares vLLM's answers to prompts of embeddings with those of the engine transformers.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from espnet_part.decode.budget import Budget
from espnet_part.decode.engines import transformers, vllm
from espnet_part.decode.engines.base import Answer, Engine, Prompt
from espnet_part.decode.search import Search
from espnet_part.errors import DataError
from espnet_part.model.llm import LLM
from tests.model.test_families import EAGER, WORK, build

FAMILIES = {**WORK, **EAGER}
#: Heads and experts of sizes that vLLM takes on CPUs, by what the families call them.
WIDE = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 64),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "attention_heads"), 2),
    **dict.fromkeys(("head_dim", "attention_head_dim"), 32),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 32),
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "mamba_d_ssm": 128,
}
ENDS = [40, 41, 42, 43]
LENGTHS = ((9, 5), (3, 30), (26, 30), (40, 1), (17, 30), (5, 30), (61, 30), (12, 30))  # and limits


def widened(sizes: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with heads and experts that vLLM takes on CPUs."""
    return {
        name: widened(size) if name == "text_config" else WIDE.get(name, size)
        for name, size in sizes.items()
    }


def make_prompts(llm: LLM) -> list[Prompt]:
    """Tokens, and between them what is none, as speech is."""
    prompts = []
    with torch.no_grad():
        for length, limit in LENGTHS:
            embeddings = llm.embedding(torch.randint(2, 97, (length,)))
            embeddings[1:-1:2] = torch.randn_like(embeddings[1:-1:2]) * llm.embedding_std()
            prompts.append(Prompt(embeddings, limit))
    return prompts


def answers(engine: Engine, prompts: list[Prompt]) -> list[Answer]:
    """In the order of the prompts."""
    found = dict(engine.generate(prompts))
    for answer in found.values():
        if isinstance(answer, Exception):
            raise answer
    return [answer for _, answer in sorted(found.items()) if isinstance(answer, Answer)]


def compare(family: str) -> str:
    """Whether tokens and scores are the same, in a few words."""
    attention = "eager" if family in EAGER else "sdpa"
    llm = build(family, widened(FAMILIES[family]), attention)
    llm.end_token_ids = ENDS
    prompts = make_prompts(llm)
    wanted = answers(transformers.Engine(llm, Search(), Budget(4), torch.inference_mode), prompts)
    logging.basicConfig(level=logging.INFO)  # what vLLM says when it fails
    try:
        found = answers(vllm.Engine(llm, Search(), Budget(4), torch.inference_mode), prompts)
    except DataError as error:
        reason = str(error).removeprefix("the engine vllm: its process ended with status 1: ")
        return f"no: {reason}"
    pairs = list(zip(found, wanted, strict=True))
    same = sum(ours.tokens == theirs.tokens for ours, theirs in pairs)
    if same < len(pairs):
        return f"no: {same} of {len(pairs)} answers are the same"
    apart = max(abs(ours.score - theirs.score) for ours, theirs in pairs)
    return "yes" if apart < 1e-2 else f"no: scores are up to {apart:.2g} apart"


def in_its_own_process(family: str, limit: float) -> str:
    """What `compare` says; whatever goes wrong is a row as well."""
    command = [sys.executable, __file__, "--here", family]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"no: not done in {limit:g} s"
    return done.stdout.strip() or f"no: status {done.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], metavar="FAMILY")
    parser.add_argument("--limit", type=float, default=300, help="seconds for each family")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.here:
        print(compare(*options.families))
        return
    print("| `model_type` | vLLM |")
    print("|---|---|")
    for family in options.families or FAMILIES:
        print(f"| `{family}` | {in_its_own_process(family, options.limit)} |", flush=True)


if __name__ == "__main__":
    main()
