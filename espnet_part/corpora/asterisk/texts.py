"""More to train on: the messages of translated programs, which say the same in every language.

An hour of prompts has few sentences, and a language model knows them by heart before it has learned to
listen. Debian's programs carry their messages in many languages (gettext catalogues, matched by message);
those that can be read aloud are read by eSpeak NG. They are training data alone: dev and test stay what
people said.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.corpora.asterisk.packages import MIRROR, PIVOT, Package, unpacked
from espnet_part.corpora.asterisk.splits import nearly_alike
from espnet_part.errors import DataError

_SNAPSHOT = "https://snapshot.debian.org/archive/debian/20250901T000000Z"
WORDS = range(3, 17)
"""Words of a text, in every language."""

_MNEMONIC = re.compile(r"[_&](?=\w)|\(_?&?\w\)$")
_READABLE = re.compile(r"[^\W\d_][\w'’ ,.;:!?«»\"“”()-]*\Z")
#: Digits, acronyms, file names and identifiers, of which nobody knows how they were read.
_UNREADABLE = re.compile(r"\d|[A-ZА-ЯЁ]{2}|\w\.\w|[a-zа-яё][A-ZА-ЯЁ]|\n")


@dataclass(frozen=True)
class Catalogues:
    """A Debian package with the catalogues of a program in all languages.

    Attributes:
        package: where they are. domain: their name. license: of the program and its messages.
    """

    package: Package
    domain: str
    license: str


PROGRAMS = (
    Catalogues(
        Package(
            "evolution-common_3.46.4-2+deb12u1_all.deb",
            "52e3a67ba3f2815fa864f600f5e3c2afd6ebc0b3487b50525df75006d4172b46",
            8545480,
            "pool/main/e/evolution",
            _SNAPSHOT,
        ),
        "evolution",
        "LGPL-2.0 or LGPL-3.0",
    ),
    Catalogues(
        Package(
            "pidgin-data_2.14.12-1_all.deb",
            "fe25279f89fdcc3b38874880f53bf205987e2048154cabc6fe529759e7d8df76",
            4172228,
            "pool/main/p/pidgin",
            _SNAPSHOT,
        ),
        "pidgin",
        "GPL-2.0-or-later",
    ),
    Catalogues(
        Package(
            "gnucash-common_4.13-1_all.deb",
            "8477b415856eb671125ee63ac6a4ee1d23efeca3de6e55e5a14c6ebb32642b31",
            5194912,
            "pool/main/g/gnucash",
            _SNAPSHOT,
        ),
        "gnucash",
        "GPL-2.0-or-later",
    ),
    Catalogues(
        Package(
            "caja-common_1.26.1-1+deb12u1_all.deb",
            "3626fe14c110b5dd9a4bde93e9560ca04372384f0a2e7fb65f968df9c534e5f7",
            2340632,
            "pool/main/c/caja",
            _SNAPSHOT,
        ),
        "caja",
        "GPL-2.0-or-later",
    ),
)

Texts = Mapping[str, str]
"""One text in every language, by its code."""


def fetch_texts(langs: Sequence[str], downloads: Path, mirror: str = MIRROR) -> list[Texts]:
    """All texts that can be read aloud in all of the languages, in an order that says nothing.

    Raises:
        DataError: a package cannot be had or is damaged; polib is missing.
    """
    found: dict[str, Texts] = {}
    for program in PROGRAMS:
        with unpacked(program.package.fetch(downloads, mirror), _is_catalogue) as files:
            for text in read_catalogues(files, program.domain, langs):
                found.setdefault(text[PIVOT].casefold(), text)
    return [found[key] for key in sorted(found, key=_digest)]


def choose_texts(texts: Sequence[Texts], count: int, kept_apart: Sequence[Texts]) -> list[Texts]:
    """The first ``count`` texts that are near none of ``kept_apart`` in any language.

    Raises:
        DataError: there are fewer.
    """
    near: set[int] = set()
    for lang in texts[0] if texts else ():
        others = [other[lang] for other in kept_apart if lang in other]
        near |= nearly_alike([text[lang] for text in texts], others)
    free = [text for number, text in enumerate(texts) if number not in near]
    if len(free) < count:
        raise DataError(f"--texts {count}: there are {len(free)}")
    return free[:count]


def read_catalogues(files: Path, domain: str, langs: Sequence[str]) -> Iterator[Texts]:
    """The messages of a program that all of its catalogues have and that can be read aloud.

    Raises:
        DataError: a catalogue is missing or damaged; polib is missing.
    """
    messages: dict[str, dict[str, str]] = defaultdict(dict)
    others = [lang for lang in langs if lang != PIVOT]
    for lang in others:
        path = files / f"usr/share/locale/{lang}/LC_MESSAGES/{domain}.mo"
        for message, translated in _read_catalogue(path):
            messages[message].setdefault(lang, translated)
    for message, by_lang in messages.items():
        if len(by_lang) < len(others):
            continue
        text = {lang: aloud(by_lang.get(lang, message)) for lang in langs}
        translated_alike = any(text[lang] == text[PIVOT] for lang in others)
        if all(text.values()) and not translated_alike:
            yield text


def aloud(message: str) -> str:
    """A message as one would read it; empty where it cannot be read, or has too few or many words."""
    text = _MNEMONIC.sub("", message.replace("…", "").replace("...", "").strip())
    text = text.rstrip(": ").replace("’", "'")
    readable = _READABLE.match(text) and not _UNREADABLE.search(text)
    return text if readable and len(text.split()) in WORDS else ""


def _is_catalogue(name: str) -> bool:
    return name.endswith(".mo")


def _read_catalogue(path: Path) -> Iterator[tuple[str, str]]:
    try:
        import polib
    except ImportError:
        raise DataError(
            "polib is needed to read catalogues: tools/setup.sh --extras asterisk installs it"
        ) from None
    try:
        entries = polib.mofile(path.read_bytes())
    except (OSError, ValueError, LookupError, MemoryError, struct.error) as error:
        raise DataError(f"{path.name}: cannot be read: {error}") from None
    for entry in entries:
        if entry.msgid and entry.msgstr:
            yield entry.msgid, entry.msgstr


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
