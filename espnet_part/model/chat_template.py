"""Rendering a tokenizer's chat template, which is a program that somebody else wrote.

It runs in transformers' kind of sandbox, in a process of its own with little time and memory: the
sandbox alone lets a template loop for ever, or make gigabytes of text. The date is fixed: templates
that write it (Llama 3.2, Granite, SmolLM3, gpt-oss) would make another prompt every day, so that a
model trained today would be asked something else tomorrow.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from espnet_part.display import plain
from espnet_part.errors import ConfigError

DATE = (2024, 7, 26)
"""Today, in every chat template: the day that Llama's own template writes when it cannot ask."""

_USER = "@@user-3f81c0d7@@"
_ANSWER = "@@answer-5c07a1f2@@"
_PROGRAM = Path(__file__).with_name("chat_template_program.py")
_CPU_SECONDS = 0.5  # usual templates take milliseconds
_MEMORY = 200 << 20
_CHARACTERS = 1 << 20
_WALL_SECONDS = 120  # only where the machine hardly runs at all


class ChatTemplate(NamedTuple):
    """What a chat template writes around the texts of a question and its answer.

    Attributes:
        head: before the user's text. tail: between it and the answer. end: behind the answer.
    """

    head: str
    tail: str
    end: str


def read_chat_template(tokenizer: Any) -> ChatTemplate:
    """Render the tokenizer's chat template, with thinking off where it knows it.

    Raises:
        ConfigError: the template fails, takes too much time, memory or text, or does not show the
            messages.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # several templates, none of them the default
        raise ConfigError(f"the tokenizer's chat template: {error}") from None
    variables = {
        name: value if isinstance(value, list) else str(value)
        for name, value in tokenizer.special_tokens_map.items()
    }
    prompt, whole = _render(template, json.dumps(variables, default=str))
    if prompt.count(_USER) != 1 or whole.count(_ANSWER) != 1:
        raise ConfigError("the tokenizer's chat template does not show each message once")
    head, tail = prompt.split(_USER)
    before, end = whole.split(_ANSWER)
    shown = before.rpartition(_USER)[2]
    # gpt-oss leaves it to the model to write the channel that its answers are in
    if shown.startswith(tail) and shown[len(tail) :].strip():
        tail = shown
    return ChatTemplate(head, tail, end)


@functools.lru_cache(maxsize=64)
def _render(template: str, variables: str) -> tuple[str, str]:
    """The prompt that a user's text makes, and the conversation with its answer."""
    user = {"role": "user", "content": _USER}
    answer = {"role": "assistant", "content": _ANSWER}
    asked = {
        "template": template,
        "conversations": [
            {"messages": [user], "add_generation_prompt": True},
            {"messages": [user, answer], "add_generation_prompt": False},
        ],
        # templates without thinking ignore the switch
        "variables": {**json.loads(variables), "enable_thinking": False},
        "date": DATE,
        "seconds": _CPU_SECONDS,
        "memory": _MEMORY,
        "length": _CHARACTERS,
    }
    # -I: whatever the user's Python settings and current directory are
    done = subprocess.run(
        [sys.executable, "-I", str(_PROGRAM)],
        input=json.dumps(asked).encode(),
        capture_output=True,
        timeout=_WALL_SECONDS,
        check=False,
    )
    try:
        rendered = json.loads(done.stdout)
    except ValueError:
        rendered = {"error": _cause(done)}
    if "error" in rendered:
        reason = plain(" ".join(str(rendered["error"]).split()), 300)
        raise ConfigError(f"the tokenizer's chat template fails: {reason}")
    prompt, whole = rendered["texts"]
    return prompt, whole


def _cause(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"it is stopped after {_CPU_SECONDS:g} s of CPU time or {_MEMORY >> 20} MB of memory"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"its process ends with status {done.returncode}"
