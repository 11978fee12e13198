"""Text normalisation before error rates: Whisper's, through the package `whisper-normalizer`.

English goes through ``EnglishTextNormalizer``, every other language through
``BasicTextNormalizer`` (Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision", appendix C). BLEU is computed on raw text and never comes here.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

CER_LANGUAGES = frozenset({"zh", "yue", "ja", "ko"})
"""Languages scored by characters (as in PART); Whisper's own paper scores Korean by words."""

_ALIASES = {"cmn": "zh", "eng": "en", "jpn": "ja", "kor": "ko", "zho": "zh"}


def base_language(language: str) -> str:
    """The language of a tag, without region or script: "en-US" -> "en", "cmn" -> "zh"."""
    primary = language.replace("_", "-").split("-")[0].lower()
    return _ALIASES.get(primary, primary)


@dataclass(frozen=True)
class Normalizer:
    """A named normaliser; calling it gives text without spaces at its edges."""

    name: str
    function: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return self.function(text).strip()


@functools.cache
def normalizer_for(language: str) -> Normalizer:
    """Whisper's normaliser of a language code such as "en", "de" or "yue"."""
    if base_language(language) == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        return Normalizer("whisper-english", EnglishTextNormalizer())
    from whisper_normalizer.basic import BasicTextNormalizer

    return Normalizer("whisper-basic", BasicTextNormalizer())


def drop_spaces(text: str) -> str:
    """Remove white space of any kind, as done before a character error rate."""
    return "".join(text.split())


def count_combining_marks(texts: Iterable[str]) -> int:
    """Marks that whisper-basic turns into spaces, by which it cuts words (Hindi, Thai, …).

    Letters that Unicode composes (é, ü, й, voiced kana) survive and are not counted.
    """
    return sum(
        unicodedata.category(character).startswith("M")
        for text in texts
        if not text.isascii()
        for character in unicodedata.normalize("NFKC", text)
    )
