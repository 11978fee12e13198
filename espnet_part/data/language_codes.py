"""Language codes of data directories: ISO 639-1 where there is one, else ISO 639-3, in lower case."""

from __future__ import annotations

import functools
import re

_CODE = re.compile("[a-z]{2,3}")
# What people write for a language, beside what `langcodes` makes of it.
_MEANT = {
    "cn": "zh", "mandarin": "zh", "cantonese": "yue", "zh-hk": "yue", "jp": "ja", "kr": "ko",
    "ge": "de", "sp": "es", "ua": "uk", "cz": "cs", "gr": "el", "dk": "da", "se": "sv",
}  # fmt: skip


@functools.lru_cache(maxsize=512)
def is_language(code: str) -> bool:
    """Whether ``code`` is the shortest code of a known language: "en", not "eng" or "en-US".

    The same language under two codes would be two languages to the mixture, the prompts and the
    scores.
    """
    return bool(_CODE.fullmatch(code)) and _shortest(code) == code


def meant_language(code: str) -> str | None:
    """The code that was probably meant by ``code``; None where there is no telling."""
    wanted = code.strip().lower().replace("_", "-")
    if wanted in _MEANT:
        return _MEANT[wanted]
    if found := _shortest(wanted):
        return found
    if len(wanted) < 4 or not wanted.isalpha():
        return None
    import langcodes

    try:
        return _shortest(langcodes.find(wanted).to_tag())  # "german"
    except (LookupError, ImportError):  # the names are in a package of their own
        return None


def say_language(code: str) -> str:
    """What to tell of a code that is no language's: the code, and the mend."""
    meant = meant_language(code)
    return f"{code[:40]}; " + (f"did you mean `{meant}`?" if meant else "use ISO 639-1 or 639-3")


@functools.lru_cache(maxsize=512)
def _shortest(tag: str) -> str | None:
    """The language of a tag, "zh" of "cmn" and "zh-CN"; None where it is not valid."""
    import langcodes

    if len(tag) > 40 or not langcodes.tag_is_valid(tag):
        return None
    # Yue and the like keep a code of their own
    return langcodes.Language.get(tag).prefer_macrolanguage().language
