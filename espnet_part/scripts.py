"""How languages are written: their script, whether it parts words by spaces, and its letters' case.

The script of a language is the likely one of Unicode's CLDR, as `langcodes` has it; a tag may say another
("sr-Latn"). Which scripts run words together follows Unicode's line breaking (UAX #14): there a line may
break inside what would be a word elsewhere (classes ID, CJ and SA, and the aksaras of Java and Bali). To
those comes Tibetan, which marks syllables.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any

_UNSPACED = {
    *("Bopo", "Hani", "Hans", "Hant", "Hira", "Hrkt", "Jpan", "Kana", "Nshu", "Tang", "Yiii"),
    *("Ahom", "Khmr", "Lana", "Laoo", "Mymr", "Tale", "Talu", "Tavt", "Thai"),
    *("Bali", "Java", "Tibt"),
}
# Members of the macrolanguage zho of ISO 639-3 of which CLDR knows no script
_CHINESE = frozenset(["cdo", "cjy", "cnp", "cpx", "csp", "czh", "czo", "mnp"])
# Unicode's SpecialCasing.txt names tr and az; these have the same two letters i in their Latin alphabets
_DOTTED_AND_DOTLESS = frozenset(("az", "azj", "crh", "gag", "tr"))


@functools.cache
def base_language(language: str) -> str:
    """The language of a tag, without region or script: "en-US" -> "en", "cmn" -> "zh", "deu" -> "de"."""
    import langcodes

    primary = language.replace("_", "-").split("-")[0].lower()
    if primary == "cmn":
        return "zh"
    return langcodes.Language.get(primary).language or primary


@functools.cache
def script_of(language: str) -> str:
    """The ISO 15924 code of the script that a language is written in: "th" -> "Thai", "sr-Latn" -> "Latn"."""
    import langcodes

    if base_language(language) in _CHINESE:
        return "Hans"
    # a member of a macrolanguage of which CLDR says nothing is written as the whole: azj as az
    tag = langcodes.standardize_tag(language.replace("_", "-"), macro=True)
    return langcodes.Language.get(tag).maximize().script or "Latn"


def parts_words(language: str) -> bool:
    """Whether a language puts spaces between words."""
    return script_of(language) not in _UNSPACED


def lower_case(text: str, language: str) -> str:
    """Lower case by the rules of a language.

    Of the languages that have them, I and İ become ı and i. In all languages a dot that case has put above
    an i is dropped, since normalisers would take it for a mark of its own.
    """
    if base_language(language) in _DOTTED_AND_DOTLESS:
        text = text.replace("I\u0307", "i").replace("İ", "i").replace("I", "ı")
    return text.lower().replace("i\u0307", "i")


def fold_capitals(text: str, language: str) -> str:
    """What is left of lower-case text where the other text has nothing but capitals.

    Capitals do not tell ß from ss nor ς from σ (Unicode's full case folding), and in Greek they have no
    accents (CLDR's rule for el).
    """
    text = text.casefold()
    if base_language(language) == "el":
        parts = unicodedata.normalize("NFD", text).replace("\u0301", "")
        text = unicodedata.normalize("NFC", parts)
    return text


def all_capitals(text: str) -> bool:
    """Whether text has letters with case, all of them capitals."""
    return text.isupper()


def runs_together(texts: Iterable[str]) -> bool:
    """Whether most letters of texts are of scripts without spaces between words."""
    letters = unspaced = 0
    for text in texts:
        letters += sum(map(str.isalpha, text))
        unspaced += len(_unspaced_letters().findall(text))
    return 2 * unspaced > letters


@functools.cache
def _unspaced_letters() -> Any:
    import regex  # knows the scripts of Unicode, which `re` does not

    names = {
        "Hans": "Hani",
        "Hant": "Hani",
        "Jpan": "Hani",
        "Hrkt": "Hani",
    }  # no scripts of letters
    known = sorted({names.get(code, code) for code in _UNSPACED})
    scripts = "".join(rf"\p{{Script={code}}}" for code in known)
    return regex.compile(rf"(?=\p{{Alphabetic}})[{scripts}]")
