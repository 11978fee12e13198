"""The engine of transformers with every family of LLMs that docs/llms.md lists."""

from __future__ import annotations

import pytest
import torch

from espnet_part.decode.budget import Budget
from espnet_part.decode.engines.base import Answer, Prompt
from espnet_part.decode.engines.transformers import Engine
from espnet_part.decode.search import Search
from tests.model.test_families import EAGER, WORK, build_working, greedy_without_a_cache


@torch.no_grad()
@pytest.mark.parametrize("family", [*WORK, *EAGER])
def test_rows_that_come_and_go_write_what_each_writes_alone(family: str) -> None:
    llm = build_working(family)
    llm.end_token_ids = []
    prompts = [
        Prompt(llm.embedding(torch.randint(2, 97, (length,))), limit)
        for length, limit in ((9, 5), (3, 2), (6, 7), (4, 4))
    ]
    found = dict(Engine(llm, Search(), Budget(2), torch.inference_mode).generate(prompts))
    for number, prompt in enumerate(prompts):
        answer = found[number]
        assert isinstance(answer, Answer)
        expected = greedy_without_a_cache(llm, prompt.embeddings[None], prompt.limit)
        assert answer.tokens == expected
