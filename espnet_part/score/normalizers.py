"""Text normalisation before error rates, by name.

- ``whisper`` is Whisper's, through the package `whisper-normalizer`: English goes through
  ``EnglishTextNormalizer``, every other language through ``BasicTextNormalizer`` (Radford et al., "Robust
  Speech Recognition via Large-Scale Weak Supervision", appendix C). The latter turns combining marks into
  spaces, which are vowels and tones in the scripts of India and South East Asia.
- ``basic`` is the latter for every language.
- ``whisper_keep_marks`` and ``basic_keep_marks`` are the same two, but for marks, which stay.
- ``nfkc`` is Unicode's compatibility form in one case, with its punctuation; ``none`` leaves all but spaces.

Case is that of the language (Turkish İ and ı) before any of them but ``none``. Chinese characters are
converted by OpenCC where that is asked for. BLEU is computed on raw text and never comes here.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from espnet_part.errors import ConfigError
from espnet_part.scripts import all_capitals, base_language, fold_capitals, lower_case

_CHINESE = frozenset({"zh", "yue"})
_OPENCC = {"simplified": "t2s", "traditional": "s2t"}
_IN_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+?\)")


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
        name: one of those above.
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
    kind = name if name in ("nfkc", "basic", "basic_keep_marks") else ""
    if not kind and base_language(language) == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        label, function = "whisper-english", EnglishTextNormalizer()
    elif kind == "nfkc":
        label, function = "nfkc", _nfkc
    elif name.endswith("_keep_marks"):
        label, function = "basic-keep-marks", _basic_keep_marks
    else:
        from whisper_normalizer.basic import BasicTextNormalizer

        label, function = "whisper-basic", BasicTextNormalizer()
    return Normalizer(label, lambda text: function(lower_case(text, language)))


def _nfkc(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def _basic_keep_marks(text: str) -> str:
    """As Whisper's basic one: words in brackets go, symbols and punctuation become spaces; marks stay."""
    composed = unicodedata.normalize("NFKC", _IN_BRACKETS.sub("", text)).lower()
    return _nfkc("".join(" " if unicodedata.category(c)[0] in "SP" else c for c in composed))


def normalize_pair(normalizer: Normalizer, language: str, one: str, other: str) -> tuple[str, str]:
    """A reference and its hypothesis, normalised.

    Where one of them alone is all in capitals, what capitals do not tell apart is made equal in both: ß and
    ss, or accents in Greek. Other texts are normalised as they would be alone.
    """
    pair = normalizer(one), normalizer(other)
    if normalizer.name != "none" and all_capitals(one) != all_capitals(other):
        return fold_capitals(pair[0], language), fold_capitals(pair[1], language)
    return pair


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
    """Marks that stand for themselves, such as vowels in Hindi or tones in Thai.

    Those that Unicode composes with a letter (é, ü, й, voiced kana) are not counted.
    """
    return sum(
        unicodedata.category(character).startswith("M")
        for text in texts
        if not text.isascii()
        for character in unicodedata.normalize("NFKC", text)
    )
