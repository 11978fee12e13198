"""Languages and tasks that a corpus is prepared for: codes of ISO 639, as data directories use."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from espnet_part.data.language_codes import is_language, meant_language
from espnet_part.errors import ConfigError

#: The ten languages of PART, in the order of its tables.
PART_LANGUAGES = ("zh", "en", "ja", "ko", "yue", "de", "fr", "ru", "es", "it")


def split_words(text: str) -> tuple[str, ...]:
    """Split a list of an option at commas and spaces; what is given twice is taken once."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def parse_languages(text: str, known: Collection[str] | None = None) -> tuple[str, ...]:
    """Read a list of language codes.

    Args:
        text: codes with commas or spaces between them.
        known: the codes that may occur; None for any of ISO 639-1 and 639-3.

    Raises:
        ConfigError: no code, or an unknown one; the message says which was probably meant.
    """
    languages = split_words(text)
    if not languages:
        raise ConfigError("no language is given; e.g. --langs de,fr")
    for code in languages:
        if not (is_language(code) if known is None else code in known):
            raise ConfigError(f"unknown language {code!r}{_suggest(code, known)}")
    return languages


def parse_tasks(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Read a list of tasks.

    Raises:
        ConfigError: no task, or one that the corpus has no data for.
    """
    tasks = split_words(text)
    for task in tasks:
        if task not in known:
            raise ConfigError(f"no data for the task {task!r} here; known: {', '.join(known)}")
    if not tasks:
        raise ConfigError(f"no task is given; known: {', '.join(known)}")
    return tasks


def _suggest(code: str, known: Collection[str] | None) -> str:
    candidates = sorted(known) if known is not None else list(PART_LANGUAGES)
    meant = meant_language(code) or ""
    if meant not in candidates and (known is not None or not meant):
        close = difflib.get_close_matches(code.lower(), candidates, 1)
        meant = close[0] if close else ""
    listed = "" if known is None else f"; known: {', '.join(candidates)}"
    hint = f"; did you mean {meant!r}?" if meant else "; codes are those of ISO 639, e.g. de, yue"
    return (hint if meant or known is None else "") + listed
