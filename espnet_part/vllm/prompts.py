"""What the LLM is asked: the prompts of training, as tokens."""

from __future__ import annotations

import functools
from typing import Any

from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import Example
from espnet_part.data.prompts import Prompts
from espnet_part.tasks import Task
from espnet_part.vllm.config import PartConfig


def prompt_tokens(
    config: PartConfig, tokenizer: Any, task: Task, lang: str, tgt: str, context: str = ""
) -> list[int]:
    """Token ids of a prompt, with one of the speech token where the speech will be.

    Args:
        lang, tgt: languages heard and written.
        context: what the LLM is told beforehand, such as names that may be said.

    Raises:
        ConfigError: unknown language, or the model has no prompt for the task.
    """
    prompts = Prompts.from_mapping(config.prompts, "config.json: prompts")
    example = Example("", task.name, lang, tgt, "", audio="")
    tokens = _chat(tokenizer).encode(prompts.render(example, 0, context))
    return [*tokens.prefix_ids, config.speech_token_id, *tokens.suffix_ids]


@functools.lru_cache(maxsize=4)
def _chat(tokenizer: Any) -> ChatFormat:
    return ChatFormat(tokenizer)
