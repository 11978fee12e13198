"""The LLM's chat format: prompts and answers as token ids.

The layout of a row, with the speech (if any) spliced in between prefix and suffix::

    prefix   <|im_start|>user
    speech   …
    suffix   Transcribe the German speech.<|im_end|><|im_start|>assistant
    answer   Guten Tag<|im_end|>
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_part.data.prompts import Prompt
from espnet_part.model.base import json_sha256
from espnet_part.model.chat_template import read_chat_template
from espnet_part.model.tokenizer import answer_end_id, control_tokens

_CACHED = 4096  # speech prompts repeat: one a task, wording and pair of languages
_LONG = 500  # characters of one that may not repeat: it has a user's context


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a row.

    Attributes:
        prefix_ids: what stands before the speech; the whole prompt where there is none.
        suffix_ids: the rest of the prompt.
        answer_ids: the answer and the end token; empty where no answer was given.
    """

    prefix_ids: list[int]
    suffix_ids: list[int]
    answer_ids: list[int]


class ChatFormat:
    """The tokenizer's own chat template, or a plain one where it has none.

    The prompt of training is the prompt of generation, token by token (thinking, where a template
    knows it, is off; the date, where one is written, is always the same). The template is rendered
    once around a marker and user text is put in afterwards as plain text, so nothing that a text
    contains can become a control token.

    Attributes:
        end_token_id: the token after the assistant's answer.
        pad_token_id: the token for padding (masked everywhere, so it may equal the end token).

    Raises:
        ConfigError: the tokenizer has no end token, or its template cannot be used.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._control = _any_of(control_tokens(tokenizer).values())
        self._cache: dict[tuple[str, str, str], list[int]] = {}
        if getattr(tokenizer, "chat_template", None):
            self.head, self.tail, _ = read_chat_template(tokenizer)
        else:
            bos = tokenizer.bos_token if _adds_bos(tokenizer) else ""
            self.head, self.tail = bos or "", "\n"
        self.end_token_id = answer_end_id(tokenizer)
        pad = tokenizer.pad_token_id
        self.pad_token_id: int = self.end_token_id if pad is None else pad

    def digest(self) -> str:
        """The hash of what the template writes around a text, and of the tokens that it becomes.

        A model trained with one format and asked in another answers worse without a word.
        """
        written = [self.head, self._ids(self.head), self.tail, self._ids(self.tail)]
        return json_sha256([*written, self.end_token_id])

    def encode(self, prompt: Prompt, answer: str | None = None) -> Tokens:
        """The token ids of a prompt, and of an answer with its end token.

        ``answer=""`` is an answer of the end token alone; None is none at all.
        """
        if prompt.after is None:
            prefix = self._around(self.head, prompt.before, self.tail)
            suffix: list[int] = []
        else:
            prefix = self._cached(self.head, prompt.before, "")
            suffix = self._cached("", prompt.after, self.tail)
        answer_ids: list[int] = []
        if answer is not None:
            answer_ids = [*self._plain(answer.strip()), self.end_token_id]
        return Tokens(prefix, suffix, answer_ids)

    def count_answers(self, answers: Sequence[str]) -> list[int]:
        """Token counts of many answers, the end token included; quicker than one by one."""
        counts: list[int] = []
        for start in range(0, len(answers), 10000):
            texts = [answer.strip() for answer in answers[start : start + 10000]]
            encoded = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            counts += [
                1 + len(self._plain(text) if self._control.search(text) else ids)
                for text, ids in zip(texts, encoded, strict=True)
            ]
        return counts

    def _cached(self, before: str, text: str, after: str) -> list[int]:
        if len(text) > _LONG:
            return self._around(before, text, after)
        key = (before, text, after)
        ids = self._cache.get(key)
        if ids is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            ids = self._cache[key] = self._around(before, text, after)
        return ids

    def _around(self, before: str, text: str, after: str) -> list[int]:
        """Tokens of the template's text around a user's text."""
        if self._control.search(text):
            return [*self._ids(before), *self._plain(text), *self._ids(after)]
        # in one piece, so that words and spaces merge as they would in the template
        return self._ids(before + text + after)

    def _plain(self, text: str) -> list[int]:
        """Tokens of a text in which a special token's string is only a string."""
        ids: list[int] = []
        start = 0
        while match := self._control.search(text, start):
            # cut inside the string: neither half of it is a special token
            ids += self._ids(text[start : match.start() + 1])
            start = match.start() + 1
        ids += self._ids(text[start:])
        return ids

    def _ids(self, text: str) -> list[int]:
        if not text:
            return []
        encoded = self.tokenizer(text, add_special_tokens=False, verbose=False)
        return list(encoded["input_ids"])


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the strings, the longest first."""
    ordered = sorted(strings, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) if ordered else r"(?!)")


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a start token before a text on its own."""
    if tokenizer.bos_token_id is None:
        return False
    return tokenizer.bos_token_id in tokenizer("a")["input_ids"]
