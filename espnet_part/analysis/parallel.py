"""Utterances that say the same in several languages, found through their translations."""

from __future__ import annotations

import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from espnet_part.data.datadir import Example
from espnet_part.errors import DataError
from espnet_part.tasks import TASKS

_Recording = tuple[str | None, tuple[float, float] | None]


@dataclass(frozen=True)
class Utterance:
    """A recording, its transcript, and what it means.

    Attributes:
        example: it is to be transcribed.
        pivot_text: the same in the pivot language, where that is known.
    """

    example: Example
    pivot_text: str | None

    @property
    def meaning(self) -> str:
        """Equal for utterances that say the same; without a translation, within a language."""
        text = self.pivot_text or f"{self.example.lang}: {self.example.text}"
        return _plain(text) or text


def utterances(
    examples: Iterable[Example], pivot: str, most: int, seed: int
) -> dict[str, list[Utterance]]:
    """At most ``most`` utterances of each language, those spoken in most languages first.

    Two recordings mean the same where their texts in the ``pivot`` language are equal up to case and
    punctuation: the transcript of what was said in it, the translation of what was said in another.
    Recordings without a transcript are left out, and so is a sentence that a language has already.

    Args:
        examples: transcribed recordings, and the same ones translated.
        pivot: a language. most: of each language.
        seed: of the choice among utterances spoken in equally many languages.

    Raises:
        DataError: no language has ten utterances.
    """
    transcribed: dict[_Recording, Example] = {}
    pivot_texts: dict[_Recording, str] = {}
    for example in sorted(examples, key=lambda example: example.utt_id):
        task, recording = TASKS[example.task], (example.audio, example.segment)
        if example.audio is None or task.text or not example.text.strip():
            continue
        if task.transcribes:
            transcribed.setdefault(recording, example)
        if (example.tgt or example.lang) == pivot:
            pivot_texts.setdefault(recording, example.text)
    found = [Utterance(e, pivot_texts.get(r)) for r, e in sorted(transcribed.items(), key=_utt_id)]
    languages: dict[str, set[str]] = defaultdict(set)
    for utterance in found:
        languages[utterance.meaning].add(utterance.example.lang)
    random.Random(seed).shuffle(found)
    found.sort(key=lambda utterance: -len(languages[utterance.meaning]))
    chosen: dict[str, dict[str, Utterance]] = defaultdict(dict)
    for utterance in found:
        if len(chosen[utterance.example.lang]) < most:
            chosen[utterance.example.lang].setdefault(utterance.meaning, utterance)
    if max(map(len, chosen.values()), default=0) < 10:
        raise DataError("no language has ten different utterances with transcripts")
    return {language: list(chosen[language].values()) for language in sorted(chosen)}


def pairs(first: Sequence[Utterance], second: Sequence[Utterance]) -> list[tuple[int, int]]:
    """The places of utterances that mean the same, in the order of ``first``."""
    places = {utterance.meaning: place for place, utterance in enumerate(second)}
    return [(i, places[u.meaning]) for i, u in enumerate(first) if u.meaning in places]


def _utt_id(item: tuple[_Recording, Example]) -> str:
    return item[1].utt_id


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    # marks are a part of their letter: in Devanagari they are its vowel
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded)
    return " ".join("".join(kept).split())
