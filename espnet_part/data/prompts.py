"""Prompts: what the LLM is asked, by task, in several wordings."""

from __future__ import annotations

import functools
import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_part.config import load_yaml
from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError
from espnet_part.tasks import TASKS, find_task

PLACEHOLDERS = ("speech", "source", "lang", "tgt")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A filled-in prompt, cut at the speech slot; ``after`` is None where there is no speech."""

    before: str
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """One template: its language, and its pieces (literal text, placeholder or None)."""

    language: str
    pieces: tuple[tuple[str, str | None], ...]


@functools.lru_cache(maxsize=4096)
def language_name(code: str, language: str = "en") -> str:
    """The name of a language in a language: ("de", "en") -> "German".

    Raises:
        ConfigError: unknown code.
    """
    import langcodes

    if not langcodes.tag_is_valid(code):
        raise ConfigError(f"unknown language code {code!r}; use ISO 639-1 or 639-3")
    return langcodes.Language.get(code).display_name(language)


class Prompts:
    """The wordings of each task.

    The file maps a task to {language of the wording: list of templates}; see `conf/prompts.yaml`.
    """

    def __init__(self, wordings: Mapping[str, list[Wording]]):
        self.wordings = dict(wordings)

    @classmethod
    def load(cls, path: str | Path) -> Prompts:
        """Read a prompts file.

        Raises:
            ConfigError: names the file, the key and what is wrong with it.
        """
        return cls.from_mapping(load_yaml(path), str(path))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str) -> Prompts:
        """Build from {task: {language: [template, …]}}; errors name ``where``."""
        if not mapping:
            raise ConfigError(f"{where}: no prompts; one key a task is needed")
        wordings = {}
        for task, by_language in mapping.items():
            find_task(task, where)
            if not isinstance(by_language, Mapping):
                raise ConfigError(f"{where}: {task}: must map a language to a list of templates")
            found = []
            for language, templates in by_language.items():
                key = f"{where}: {task}.{language}"
                try:
                    language_name(str(language))
                except ConfigError as error:
                    raise ConfigError(f"{key}: {error}") from None
                if not isinstance(templates, list) or not templates:
                    raise ConfigError(f"{key}: must be a list of templates")
                for number, template in enumerate(templates):
                    place = f"{key}[{number}]"
                    found.append(parse_wording(template, task, place, str(language)))
            if not found:
                raise ConfigError(f"{where}: {task}: no template")
            wordings[task] = found
        return cls(wordings)

    def count(self, task: str) -> int:
        """How many wordings a task has."""
        return len(self._of(task))

    def choose(self, example: Example, seed: int, epoch: int | None) -> int:
        """The number of the wording to use; 0 where ``epoch`` is None (validation, decoding).

        In training it depends on (seed, epoch, utterance) alone, in every process and on every
        machine.
        """
        count = self.count(example.task)
        if epoch is None or count == 1:
            return 0
        key = f"{seed} {epoch} {example.utt_id}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") % count

    def render(self, example: Example, wording: int | Wording = 0, context: str = "") -> Prompt:
        """Fill in a wording. What is filled in is never read as a template itself.

        Args:
            wording: its number, or one that is none of the file's.
            context: what the LLM is told beforehand, such as names that may be said: a line of its
                own before the wording.
        """
        chosen = wording if isinstance(wording, Wording) else self._of(example.task)[wording]
        values = {
            "lang": language_name(example.lang, chosen.language),
            "tgt": language_name(example.tgt, chosen.language),
            "source": (example.src_text or "").strip(),
        }
        parts = [f"{context.strip()}\n" if context.strip() else ""]
        for literal, placeholder in chosen.pieces:
            parts[-1] += literal
            if placeholder == "speech":
                parts.append("")
            elif placeholder is not None:
                parts[-1] += values[placeholder]
        if len(parts) == 1:
            return Prompt(parts[0].strip())
        return Prompt(parts[0].lstrip(), parts[1].rstrip())

    def _of(self, task: str) -> list[Wording]:
        if task not in self.wordings:
            raise ConfigError(
                f"no prompt for the task {task}; the prompts file has {', '.join(self.wordings)}"
            )
        return self.wordings[task]


def parse_wording(template: Any, task: str, key: str, language: str = "en") -> Wording:
    """Read a template as `conf/prompts.yaml` has them.

    Args:
        task: the task that it asks for.
        key: what errors begin with.
        language: that it is written in, and names of languages in it.

    Raises:
        ConfigError: it is no text, has a placeholder that is unknown, or not those of the task.
    """
    if not isinstance(template, str) or not template.strip():
        raise ConfigError(f"{key}: must be a text, not {template!r}")
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{key}: {error}; write a brace as {{{{ or }}}}") from None
    pieces = []
    for literal, name, form, conversion in parsed:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise ConfigError(
                f"{key}: unknown placeholder {{{name}}}; known: "
                + ", ".join(f"{{{p}}}" for p in PLACEHOLDERS)
            )
        pieces.append((literal, name))
    names = [name for _, name in pieces]
    slots = {"speech": TASKS[task].speech, "source": TASKS[task].text}
    for slot, read in slots.items():
        if read and names.count(slot) != 1:
            raise ConfigError(f"{key}: {{{slot}}} must stand in it once")
    for slot, read in slots.items():
        if not read and slot in names:
            raise ConfigError(f"{key}: {{{slot}}} has no meaning for {task}")
    return Wording(language, tuple(pieces))
