"""Where a release of Common Voice lies: locales as directories, or as the archives that are given out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.archive import unpack
from espnet_part.corpora.languages import parse_languages, split_words
from espnet_part.data.language_codes import is_language
from espnet_part.errors import ConfigError, DataError

UNKNOWN_RELEASE = "unknown release"

# Languages whose locale has another name; every other locale is its language's code.
_LOCALES = {
    "zh": "zh-CN", "sv": "sv-SE", "ga": "ga-IE", "hy": "hy-AM", "pa": "pa-IN", "ne": "ne-NP",
    "fy": "fy-NL", "nn": "nn-NO", "nan": "nan-tw",
}  # fmt: skip
# Locales whose language is not what stands before the hyphen: Hong Kong's speech is Cantonese.
_LANGUAGES = {"zh-HK": "yue"}

_RELEASE = re.compile(r"cv-corpus-\d[\w.-]*?(?=-[a-z]{2,3}(?:-\w+)?$|$)")
_ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True)
class Locale:
    """One locale of one release on disk.

    Attributes:
        name: Common Voice's name, "zh-HK".
        lang: the language of data directories, "yue".
        directory: holds the tables and ``clips``.
        release: "cv-corpus-15.0-2023-09-08", as far as a name on the way says it.
    """

    name: str
    lang: str
    directory: Path
    release: str


def locale_of(code: str) -> str:
    """The locale that a language stands for: "zh" is zh-CN (zh-TW and zh-HK are asked for as such)."""
    return _LOCALES.get(code, code)


def language_of(locale: str) -> str:
    """The language of a locale: zh-CN and zh-TW are "zh", zh-HK is "yue", sv-SE is "sv"."""
    return _LANGUAGES.get(locale, locale.split("-")[0].lower())


def parse_locales(text: str) -> tuple[str, ...]:
    """Read languages ("zh") and locales ("zh-TW") of an option as locales.

    Raises:
        ConfigError: an unknown language.
    """
    locales = []
    for word in split_words(text):
        if "-" in word and is_language(language_of(word)):
            locales.append(word)
        else:
            locales += [locale_of(code) for code in parse_languages(word)]
    if not locales:
        raise ConfigError("no language is given; e.g. --langs de,fr")
    return tuple(dict.fromkeys(locales))


def find_locales(
    corpus_dir: str | Path, names: Sequence[str], unpack_dir: str | Path | None = None
) -> list[Locale]:
    """Find locales, unpacking their archives where only those are there.

    Args:
        corpus_dir: a release's directory, or the one above it; archives lie in either.
        unpack_dir: where archives are unpacked (default: beside them).

    Raises:
        DataError: no such directory, or it lacks a locale; the message lists what is there.
    """
    root = Path(corpus_dir).absolute()
    if not root.is_dir():
        raise DataError(f"{root}: no such directory")
    if (root / "clips").is_dir() and (root / "validated.tsv").exists():
        raise DataError(f"{root}: is one locale; give the directory above it, {root.parent}")
    places = [root, *sorted(path for path in root.glob("cv-corpus-*") if path.is_dir())]
    if unpack_dir is not None and Path(unpack_dir).is_dir():
        places.append(Path(unpack_dir).absolute())
    found: dict[str, Locale] = {}
    missing = []
    for name in names:
        locale = _directory(places, name) or _unpacked(places, name, unpack_dir)
        if locale is None:
            missing.append(name)
        else:
            found[name] = locale
    if missing:
        there = sorted(_there(places))
        raise DataError(
            f"{root}: no {', '.join(missing)}; there: {', '.join(there) or 'no locale at all'}"
            f" (choose with --langs; the layout is RELEASE/LOCALE/clips and RELEASE/LOCALE/*.tsv,"
            f" where {root} is RELEASE, such as cv-corpus-15.0-2023-09-08, or the directory above)"
        )
    return [found[name] for name in names]


def _is_locale(path: Path) -> bool:
    return (path / "clips").is_dir() or (path / "validated.tsv").exists()


def _directory(places: Sequence[Path], name: str) -> Locale | None:
    found = [place / name for place in places if _is_locale(place / name)]
    if len({_release(path.parent) for path in found}) > 1:
        raise DataError(
            f"{name} is there in several releases: {', '.join(map(str, found))}; give one of them"
        )
    return _locale(name, found[0]) if found else None


def _unpacked(places: Sequence[Path], name: str, unpack_dir: str | Path | None) -> Locale | None:
    archives = [path for place in places for path in _archives(place) if _stem(path)[1] == name]
    if not archives:
        return None
    if len(archives) > 1:
        raise DataError(f"{name} is there in several archives: {', '.join(map(str, archives))}")
    archive = archives[0]
    beside = Path(unpack_dir).absolute() if unpack_dir is not None else archive.parent
    target = beside / _stem(archive)[0]
    if not target.exists():
        place = beside
        while not place.exists():
            place = place.parent
        if not os.access(place, os.W_OK):
            raise DataError(f"{beside}: cannot be written to; say where to unpack: --unpack_dir")
        logging.warning("unpacking %s into %s", archive, target)
        unpack(archive, target)
    for path in (target / name, *target.glob(f"cv-corpus-*/{name}"), target):
        if _is_locale(path):
            return _locale(name, path, _release(archive))
    raise DataError(f"{target} (from {archive}): no {name}/clips in it")


def _archives(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.name.endswith(_ENDINGS) and p.is_file())


def _stem(archive: Path) -> tuple[str, str]:
    """A name without its ending, and the locale that it says: cv-corpus-15.0-2023-09-08-zh-CN."""
    stem = archive.name
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    match = _RELEASE.match(stem)
    return stem, stem[match.end() + 1 :] if match else stem


def _release(path: Path) -> str:
    """The nearest name that is a release's."""
    for part in reversed(path.parts):
        for ending in _ENDINGS:
            part = part.removesuffix(ending)
        if match := _RELEASE.match(part):
            return match[0]
    return UNKNOWN_RELEASE


def _locale(name: str, directory: Path, release: str = UNKNOWN_RELEASE) -> Locale:
    # a link's own name may say nothing
    said = [_release(path.parent) for path in (directory, directory.resolve())]
    known = [name for name in (*said, release) if name != UNKNOWN_RELEASE]
    return Locale(name, language_of(name), directory, known[0] if known else UNKNOWN_RELEASE)


def _there(places: Sequence[Path]) -> set[str]:
    there = {path.name for place in places for path in place.iterdir() if _is_locale(path)}
    for place in places:
        there |= {
            _stem(path)[1] for path in _archives(place) if is_language(language_of(_stem(path)[1]))
        }
    return there
