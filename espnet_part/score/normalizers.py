"""Text normalisation before error rates, by name.

"whisper" is Whisper's, through the package `whisper-normalizer`: English goes through
``EnglishTextNormalizer``, every other language through ``BasicTextNormalizer`` (Radford et al.,
"Robust Speech Recognition via Large-Scale Weak Supervision", appendix C). Chinese characters are
converted by OpenCC where that is asked for. BLEU is computed on raw text and never comes here.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from espnet_part.errors import ConfigError

CHARACTER_LANGUAGES = frozenset({"zh", "yue", "ja", "ko"})
"""Languages whose text is measured in characters where no configuration says otherwise."""

_CHINESE = frozenset({"zh", "yue"})
_OPENCC = {"simplified": "t2s", "traditional": "s2t"}
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
def normalizer_for(language: str, name: str = "whisper", script: str = "keep") -> Normalizer:
    """The normaliser of a language code such as "en", "de" or "yue".

    Args:
        name: "whisper", "basic" or "none" (see `ScoreConfig`).
        script: "simplified" or "traditional" converts Chinese and Cantonese first.

    Raises:
        ConfigError: OpenCC is needed and not installed.
    """
    normalizer = _base_normalizer(language, name)
    if script == "keep" or base_language(language) not in _CHINESE:
        return normalizer
    conversion = _OPENCC[script]
    convert, function = _opencc(conversion), normalizer.function
    return Normalizer(f"opencc-{conversion}+{normalizer.name}", lambda t: function(convert(t)))


def _base_normalizer(language: str, name: str) -> Normalizer:
    if name == "none":
        return Normalizer("none", lambda text: " ".join(text.split()))
    if name == "whisper" and base_language(language) == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        return Normalizer("whisper-english", EnglishTextNormalizer())
    from whisper_normalizer.basic import BasicTextNormalizer

    return Normalizer("whisper-basic", BasicTextNormalizer())


def _opencc(conversion: str) -> Callable[[str], str]:
    try:
        from opencc import OpenCC
    except ImportError:
        raise ConfigError(
            "`chinese_script` needs OpenCC, which is not installed: pip install opencc"
        ) from None
    return OpenCC(conversion).convert


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
