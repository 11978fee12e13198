"""The transcripts of the prompts: `id: text` a line, with the quirks that they have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_ENTRY = re.compile(r"([\w/.-]+)\s*:(?:\s|$)(.*)")
#: An id before a second entry on the same line: all such have a hyphen.
_INNER = re.compile(r"(?<![\w/-])([a-z]+(?:-[a-z0-9]+)+)\s*:(?=\s|$)")
_DIRECTIONS = re.compile(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>")
_BROKEN = re.compile(r"\ufffd|\s\?\s|\w\?\s+[^\W\d_A-ZÀ-Ý]")
_QUOTES = " \t\"“”«»'"
_SIGN = re.compile(r"[*#@$=+|~^_{}\\]")
#: Directories and names of what is no sentence in any language, with the reason.
_KINDS: tuple[tuple[str, str], ...] = (
    ("letters/", "a letter or sign"),
    ("phonetic/", "phonetic alphabet"),
    ("silence/", "silence"),
)


@dataclass(frozen=True)
class Prompt:
    """A line of the transcripts.

    Attributes:
        id: in lower case; the same in every language.
        text: what is said; empty where there is a fault.
        fault: why it cannot be used (reason, detail); None where it can.
        cleaned: directions to the speaker, such as "(emphasis)", were taken out.
    """

    id: str
    text: str
    fault: tuple[str, str] | None = None
    cleaned: bool = False


def read_prompts(transcripts: str, recorded: Collection[str]) -> Iterator[Prompt]:
    """The prompts of a language, each id once, those without a text among them.

    Args:
        transcripts: the file's text. recorded: the ids that have a recording.
    """
    texts: dict[str, str] = {}
    for line in transcripts.splitlines():
        if line.startswith(";") or not line.strip():
            continue
        for name, text in _entries(line):
            texts[name] = texts.get(name) or text
    for name, text in texts.items():
        yield _prompt(name, text, name in recorded)
    for name in recorded:
        if name not in texts:
            yield Prompt(name, "", _kind(name) or ("no text", ""))


def _entries(line: str) -> Iterator[tuple[str, str]]:
    """(id, text) of a line; some lines hold two entries, one names its id twice."""
    match = _ENTRY.match(line.strip())
    if match is None:
        return
    name, text = match[1].lower(), match[2]
    inner = list(_INNER.finditer(text))
    yield name, _plain(text[: inner[0].start()] if inner else text)
    for number, entry in enumerate(inner):
        end = inner[number + 1].start() if number + 1 < len(inner) else len(text)
        yield entry[1], _plain(text[entry.end() : end])


def _prompt(name: str, text: str, recorded: bool) -> Prompt:
    spoken = _plain(_DIRECTIONS.sub(" ", text))
    if fault := _fault(name, text, spoken, recorded):
        return Prompt(name, "", fault)
    return Prompt(name, spoken, cleaned=spoken != text)


def _fault(name: str, text: str, spoken: str, recorded: bool) -> tuple[str, str] | None:
    if kind := _kind(name):
        return kind
    if not recorded:
        return "no audio", text
    if not text:
        return "no text", ""
    if not any(c.isalnum() for c in spoken):
        return "a tone or noise", text  # the text only describes it
    if _BROKEN.search(spoken):
        return "broken characters", text
    if _SIGN.search(spoken):
        return "signs for words", text
    return None


def _kind(name: str) -> tuple[str, str] | None:
    for start, reason in _KINDS:
        if name.startswith(start):
            return reason, ""
    return None


def _plain(text: str) -> str:
    """Single spaces; no quotation marks and ellipses around the whole."""
    text = " ".join(text.replace("…", "...").replace("’", "'").split()).strip(_QUOTES)
    return re.sub(r"^[.\s]*\.\.\.\s*|\s*\.\.\.[.\s]*$", "", text).strip(_QUOTES)
