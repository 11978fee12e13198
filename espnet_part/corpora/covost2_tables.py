"""CoVoST 2's tables: which direction lies where, and what is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_part.archive import unpack
from espnet_part.corpora.clips import clip_stem
from espnet_part.corpora.commonvoice_release import language_of
from espnet_part.corpora.languages import split_words
from espnet_part.corpora.tsv import BadLine, read_tsv
from espnet_part.errors import ConfigError, DataError

_INTO_ENGLISH = (
    "fr", "de", "es", "ca", "it", "ru", "zh-CN", "pt", "fa", "et", "mn", "nl", "tr", "ar", "sv-SE",
    "lv", "sl", "ta", "ja", "id", "cy",
)  # fmt: skip
_FROM_ENGLISH = (
    "de", "tr", "fa", "sv-SE", "mn", "zh-CN", "cy", "ca", "sl", "et", "id", "ar", "ta", "lv", "ja",
)  # fmt: skip
#: Split in a table -> split of the data directories. Both are training data of the paper.
SPLITS = {"train": "train", "train_covost": "train", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class Direction:
    """One direction by the names of Common Voice's locales.

    Attributes:
        source, target: locales, "zh-CN".
        lang, tgt: the languages of data directories, "zh".
    """

    source: str
    target: str

    @property
    def lang(self) -> str:
        return language_of(self.source)

    @property
    def tgt(self) -> str:
        return language_of(self.target)

    @property
    def table(self) -> str:
        """The name of the table."""
        return f"covost_v2.{self.source}_{self.target}.tsv"

    def __str__(self) -> str:
        return f"{self.lang}-{self.tgt}"


#: The 36 directions of CoVoST 2.
DIRECTIONS = (
    *(Direction(source, "en") for source in _INTO_ENGLISH),
    *(Direction("en", target) for target in _FROM_ENGLISH),
)


def directions_among(languages: Sequence[str]) -> tuple[Direction, ...]:
    """The directions whose two languages are both among the given ones."""
    return tuple(d for d in DIRECTIONS if d.lang in languages and d.tgt in languages)


def parse_directions(text: str) -> tuple[Direction, ...]:
    """Read "fr-en,en-zh", or CoVoST's own "en_zh-CN".

    Raises:
        ConfigError: no direction, or one that CoVoST 2 has not.
    """
    known = {str(direction): direction for direction in DIRECTIONS}
    known |= {f"{d.source}_{d.target}": d for d in DIRECTIONS}
    words = split_words(text)
    for word in words:
        if word not in known:
            listed = " ".join(str(direction) for direction in DIRECTIONS)
            raise ConfigError(f"CoVoST 2 has no direction {word!r}; it has: {listed}")
    if not words:
        raise ConfigError("no direction is given; e.g. --directions fr-en,en-de")
    return tuple(dict.fromkeys(known[word] for word in words))


def find_table(
    covost2_dir: str | Path, direction: Direction, unpack_dir: str | Path | None = None
) -> Path | None:
    """A direction's table: in the directory, in one of its language or direction, or in the archive.

    An archive is unpacked beside itself, or in ``unpack_dir``. None where there is neither.

    Raises:
        DataError: no such directory; a bad archive.
    """
    root = Path(covost2_dir).absolute()
    if not root.is_dir():
        raise DataError(f"{root}: no such directory")
    name = direction.table
    pair = f"{direction.source}_{direction.target}"
    places = [root, root / direction.source, root / direction.target, root / pair, root / "covost2"]
    for place in places:
        if (place / name).is_file():
            return place / name
    for place in places:
        for archive in (place / f"{name}.tar.gz", place / f"{name}.tgz", place / f"{name}.zip"):
            beside = Path(unpack_dir).absolute() if unpack_dir is not None else place
            target = beside / name.removesuffix(".tsv")
            if archive.is_file():
                if not target.exists():
                    logging.warning("unpacking %s into %s", archive, target)
                    unpack(archive, target)
                for path in sorted(target.rglob(name)):
                    return path
                raise DataError(f"{archive}: no {name} in it")
    return None


def read_table(path: Path, bad_line: BadLine | None = None) -> Iterator[tuple[str, ...]]:
    """Yield (clip, translation, split), split as the table has it."""
    return read_tsv(path, None, ("path", "translation", "split"), bad_line, escaped=True)


def held_out_clips(
    covost2_dir: str | Path, locales: Sequence[str], unpack_dir: str | Path | None = None
) -> dict[str, frozenset[str]]:
    """The clips (see `clip_stem`) of dev and test of all directions from each locale that CoVoST 2
    translates.

    A locale without any table has none.

    Raises:
        DataError: no such directory, or no table from any of these locales.
    """
    found: dict[str, frozenset[str]] = {}
    tables = 0
    for locale in locales:
        directions = [direction for direction in DIRECTIONS if direction.source == locale]
        clips: set[str] = set()
        for direction in directions:
            table = find_table(covost2_dir, direction, unpack_dir)
            if table is None:
                continue
            tables += 1
            # a line that cannot be read is the business of the preparation of CoVoST 2
            rows = read_table(table, lambda number, reason, detail: None)
            clips.update(
                clip_stem(path) for path, _, split in rows if SPLITS.get(split) in ("dev", "test")
            )
        if directions:
            found[locale] = frozenset(clips)
    if found and not tables:
        raise DataError(
            f"{covost2_dir}: has no table covost_v2.*.tsv from {', '.join(found)}, so that"
            " nothing of CoVoST 2 can be left out of training"
        )
    return found
