"""Debian's packages of the prompts, and how their content is read.

A language has two: the recordings (G.722, 16 kHz) and the transcripts. The version is one, so that
everybody has the same utterances; Debian's archive of old releases keeps it when a mirror drops it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from espnet_part.archive import unpack
from espnet_part.download import RemoteFile, fetch
from espnet_part.errors import DataError

MIRROR = "https://deb.debian.org/debian"
PIVOT = "en"
"""The language that all others are translated from and into, and that of a message's id."""
_OLD = "https://snapshot.debian.org/archive/debian/20240101T000000Z"
_POOL = "pool/main/a/asterisk-core-sounds"
_VERSION = "1.6.1-1"
_LARGEST_TRANSCRIPTS = 1 << 24
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Package:
    """A Debian package of a fixed version.

    Attributes:
        name: of its file. sha256, size: of its content.
        pool: its directory in the archive. snapshot: where it is when mirrors have dropped it.
    """

    name: str
    sha256: str
    size: int
    pool: str
    snapshot: str

    def fetch(self, directory: Path, mirror: str) -> Path:
        """Its file, fetched where it is not in ``directory``.

        Raises:
            DataError: from `espnet_part.download.fetch`.
        """
        places = (mirror, self.snapshot)
        urls = [f"{place.rstrip('/')}/{self.pool}/{self.name}" for place in places]
        file = RemoteFile(name=self.name, sha256=self.sha256, size=self.size, find=lambda: urls)
        return fetch(file, directory)


@dataclass(frozen=True)
class Language:
    """A language's packages.

    Attributes:
        voice: the directory of the recordings, which names country, sex and speaker.
        license: of the recordings and the transcripts. author: whom it asks to name.
        audio, texts: sha256 and size of each package.
    """

    voice: str
    license: str
    author: str
    audio: tuple[str, int]
    texts: tuple[str, int]


LANGUAGES: dict[str, Language] = {
    "en": Language(
        "en_US_f_Allison",
        "CC-BY-SA-3.0",
        "Allison Smith",
        ("38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806", 10565860),
        ("973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50", 22844),
    ),
    "es": Language(
        "es_MX_f_Allison",
        "CC-BY-SA-3.0",
        "Allison Smith",
        ("e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8", 13048380),
        ("9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74", 22012),
    ),
    "fr": Language(
        "fr_CA_f_June",
        "CC-BY-SA-3.0",
        "June Wallack",
        ("7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0", 10822860),
        ("04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056", 23152),
    ),
    "it": Language(
        "it_IT_m_Carlo",
        "CC-BY-3.0",
        "Carlo Flora",
        ("46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016", 10087176),
        ("3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b", 23972),
    ),
    "ru": Language(
        "ru_RU_f_IvrvoiceRU",
        "CC-BY-3.0",
        "Maxim Topal",
        ("673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b", 10579440),
        ("28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab", 25592),
    ),
}


def package_names(lang: str) -> tuple[str, str]:
    """File names of the packages of recordings and of transcripts."""
    stem = f"asterisk-core-sounds-{lang}"
    return f"{stem}-g722_{_VERSION}_all.deb", f"{stem}_{_VERSION}_all.deb"


def fetch_packages(lang: str, directory: Path, mirror: str = MIRROR) -> tuple[Path, Path]:
    """The two packages of a language, fetched where they are not in ``directory``.

    Raises:
        DataError: from `espnet_part.download.fetch`.
    """
    language = LANGUAGES[lang]
    paths = []
    names = package_names(lang)
    for name, (sha256, size) in zip(names, (language.audio, language.texts), strict=True):
        package = Package(name, sha256, size, _POOL, _OLD)
        paths.append(package.fetch(directory, mirror))
    return paths[0], paths[1]


@contextmanager
def unpacked(package: Path, wanted: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """A directory with a Debian package's files, there for the block.

    Args:
        wanted: says of which, by their names; links into other packages lead nowhere.

    Raises:
        DataError: no Debian package, or a damaged one.
    """
    with TemporaryDirectory(prefix="espnet_part.") as place:
        archive = Path(place) / "data.tar"
        with package.open("rb") as file, archive.open("wb") as out:
            size = _seek_data(package, file)
            while size and (block := file.read(min(size, _BLOCK))):
                out.write(block)
                size -= len(block)
        unpack(archive, Path(place) / "files", wanted)
        yield Path(place) / "files"


def _seek_data(package: Path, file: BinaryIO) -> int:
    """Go to the member ``data.tar.*`` of an ``ar`` archive (deb(5)); return its size."""
    if file.read(8) != b"!<arch>\n":
        raise DataError(f"{package}: no Debian package")
    while len(header := file.read(60)) == 60 and header[58:] == b"`\n":
        digits = header[48:58].strip()
        if not digits.isdigit():
            break
        size = int(digits)
        if header[:16].strip().rstrip(b"/").startswith(b"data.tar"):
            return size
        file.seek(size + size % 2, 1)
    raise DataError(f"{package}: damaged: has no data.tar")


def read_transcripts(lang: str, files: Path) -> str:
    """The text of a language's transcripts.

    Raises:
        DataError: the package has none, or they are damaged.
    """
    path = files / f"usr/share/doc/asterisk-core-sounds-{lang}/core-sounds-{lang}.txt.gz"
    try:
        with gzip.open(path) as file:
            content = file.read(_LARGEST_TRANSCRIPTS)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: cannot be read: {error}") from None
    return content.decode("utf-8-sig", "replace")  # the Italian file has a byte-order mark


def find_recordings(lang: str, files: Path) -> dict[str, Path]:
    """Recordings by their prompt's id, in lower case: transcripts and files differ in case."""
    base = files / "usr/share/asterisk/sounds" / LANGUAGES[lang].voice
    return {
        path.relative_to(base).with_suffix("").as_posix().lower(): path
        for path in sorted(base.rglob("*.g722"))
    }
