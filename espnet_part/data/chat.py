"""The LLM's chat format: prompts and answers as token ids.

The layout of a row, with the speech (if any) spliced in between prefix and suffix::

    prefix   <|im_start|>user
    speech   …
    suffix   Transcribe the German speech.<|im_end|><|im_start|>assistant
    answer   Guten Tag<|im_end|>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from espnet_part.config import ConfigError
from espnet_part.data.prompts import Prompt

_USER = "@@user-3f81c0d7@@"
_ANSWER = "@@answer-9b52ee46@@"
_CACHED = 4096  # speech prompts repeat: one a task, wording and pair of languages


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
    knows it, is off). The template is rendered once around a marker and user text is put in
    afterwards as plain text, so nothing that a text contains can become a control token.

    Attributes:
        end_token_id: the token after the assistant's answer.
        pad_token_id: the token for padding (masked everywhere, so it may equal the end token).

    Raises:
        ConfigError: the tokenizer has no end token, or its template cannot be used.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._control_ids, self._control = _control_tokens(tokenizer)
        self._cache: dict[str, list[int]] = {}
        if getattr(tokenizer, "chat_template", None):
            self.head, self.tail, after = self._read_template()
        else:
            bos = tokenizer.bos_token if _adds_bos(tokenizer) else ""
            self.head, self.tail, after = bos or "", "\n", ""
        self.end_token_id = self._find_end(after)
        pad = tokenizer.pad_token_id
        self.pad_token_id: int = self.end_token_id if pad is None else pad

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

    def _read_template(self) -> tuple[str, str, str]:
        """The template's text before the user's, between it and the answer, after the answer."""
        user = {"role": "user", "content": _USER}
        answer = {"role": "assistant", "content": _ANSWER}
        try:
            prompt = self._render([user], add_generation_prompt=True)
            whole = self._render([user, answer], add_generation_prompt=False)
        except Exception as error:  # a Jinja template raises what it likes
            raise ConfigError(f"the tokenizer's chat template fails: {error}") from None
        if prompt.count(_USER) != 1 or whole.count(_ANSWER) != 1:
            raise ConfigError("the tokenizer's chat template does not show each message once")
        head, tail = prompt.split(_USER)
        return head, tail, whole.split(_ANSWER)[1]

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,  # templates without thinking ignore it
        )

    def _find_end(self, after: str) -> int:
        ids = self._ids(after.lstrip())
        if ids and ids[0] in self._control_ids:
            return ids[0]
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                "the tokenizer has no end token: neither its chat template ends an answer with"
                " a special token nor has it an eos_token"
            )
        return int(self.tokenizer.eos_token_id)

    def _cached(self, before: str, text: str, after: str) -> list[int]:
        key = f"{before}\0{text}\0{after}"
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


def _control_tokens(tokenizer: Any) -> tuple[frozenset[int], re.Pattern[str]]:
    """Ids of the control tokens, and a pattern that finds their strings.

    Control tokens are those marked special, and those in angle or square brackets (``<think>``,
    ``[INST]``), which some tokenizers do not mark. Added tokens of other kinds, such as runs of
    spaces, are ordinary text.
    """
    control = {
        index: token.content
        for index, token in tokenizer.added_tokens_decoder.items()
        if len(token.content) > 1 and (token.special or re.fullmatch(r"<.+>|\[.+\]", token.content))
    }
    strings = sorted(control.values(), key=len, reverse=True)
    pattern = "|".join(re.escape(s) for s in strings) if strings else r"(?!)"
    return frozenset(control), re.compile(pattern)


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a start token before a text on its own."""
    if tokenizer.bos_token_id is None:
        return False
    return tokenizer.bos_token_id in tokenizer("a")["input_ids"]
