"""Unpacking archives that nobody has checked: nothing is written outside, nothing half done."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from espnet_part.errors import DataError
from espnet_part.progress import open_bar

#: Content may be so many times as large as the archive, and up to `FREE_SIZE` in any case. Audio and
#: text come nowhere near it; what does is made to fill a disk.
LARGEST_RATIO = 200
FREE_SIZE = 1 << 30
_BLOCK = 1 << 20
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


@dataclass(frozen=True)
class _Member:
    """One entry: a file (with `open`), a directory, or a link (with `target`)."""

    name: str
    kind: str
    size: int = 0
    target: str = ""
    open: Callable[[], IO[bytes]] | None = None


def unpack(
    archive: str | Path, directory: str | Path, wanted: Callable[[str], bool] | None = None
) -> None:
    """Unpack a tar (plain, gz, bz2, xz) or a zip into a new directory.

    The archive is read once, as a stream. What comes out lies aside until all of it is there, so a
    process killed meanwhile leaves no ``directory``; the next call clears what it left. One process
    may unpack to a place at a time. Files get ordinary permissions; owners are not restored.

    Args:
        archive: its kind is found from its first bytes, not from its name.
        directory: must not exist, or be empty.
        wanted: says by a member's name whether it is unpacked; by default all are.

    Raises:
        DataError: the archive is missing, damaged, cut short or encrypted; a member has an absolute
            name or ``..`` in it, is a link that leads out or nowhere, a device or a pipe, or is
            there twice; the content does not fit on the disk or is out of all proportion to the
            archive. Nothing is left behind then.
    """
    archive, directory = Path(archive), Path(directory)
    if not archive.is_file():
        raise DataError(f"{archive}: no such archive")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(f"{directory}: is there already; remove it to unpack {archive} again")
    aside = directory.with_name(f".{directory.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        with _refusing(archive), _members(archive) as members:
            _Writer(archive, aside, wanted).write(members)
        aside.rename(directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member of a tar.

    Attributes:
        name: as the archive has it.
        kind: "file", "sparse file", "directory", "symbolic link", "hard link", "device or pipe".
        offset, size: where its bytes are, if it is a file.
    """

    name: str
    kind: str
    offset: int
    size: int


def list_tar(file: IO[bytes], where: str) -> Iterator[TarMember]:
    """The members of a tar that is not compressed, in their order; only headers are read.

    Args:
        file: can be sought in.
        where: its name, for messages.

    Raises:
        DataError: no tar, compressed, damaged, or cut short; members before the fault have been given.
    """
    total = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    if any(start.startswith(magic) for magic in _OPENERS):
        raise DataError(
            f"{where}: is compressed, so that nothing in it can be read by its place; unpack it "
            "to a plain .tar (gunzip, bunzip2, unxz)"
        )
    with _refusing(where), tarfile.open(fileobj=file, mode="r:", tarinfo=_StrictInfo) as tar:
        while (info := tar.next()) is not None:
            if info.isreg() and info.offset_data + info.size > total:
                raise tarfile.ReadError(f"the file ends inside the member {info.name!r}")
            kind = "sparse file" if info.issparse() else _tar_kind(info)
            yield TarMember(info.name, kind, info.offset_data, info.size)
            tar.members = []  # type: ignore[attr-defined]  # it keeps all headers
        file.seek(tar.offset)
        _check_end(file)


def _allowed(size: int) -> int:
    """The bytes that an archive of ``size`` bytes may unpack to."""
    return max(FREE_SIZE, LARGEST_RATIO * size)


@contextmanager
def _refusing(archive: str | Path) -> Iterator[None]:
    """Turn what the libraries raise for bad archives into one error."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{archive}: damaged or cut short: {error}") from None
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: no tar or zip, damaged, or cut short: {error}") from None
    except (RuntimeError, NotImplementedError, ValueError) as error:
        # encrypted; another compression; a name that no file can have
        raise DataError(f"{archive}: cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise  # the system's own: no space, no permission
        # bz2's, without a number; a seek to before the start, which a damaged zip asks for
        raise DataError(f"{archive}: damaged: {error}") from None


class _Writer:
    """Writes members below ``root``; symbolic links come last, so nothing is written through one.

    What is there already is asked of the disk: a corpus has too many names to keep.
    """

    def __init__(
        self, archive: Path, root: Path, wanted: Callable[[str], bool] | None = None
    ) -> None:
        self.archive = archive
        self.root = root
        self.wanted = wanted
        self.made = {PurePosixPath()}
        self.links: list[tuple[PurePosixPath, str]] = []
        self.size = 0
        self.allowed = _allowed(archive.stat().st_size)
        self.free = shutil.disk_usage(root).free

    def write(self, members: Iterator[_Member]) -> None:
        for member in members:
            name = self._checked(member.name, member.name)
            if self.wanted is not None and not self.wanted(str(name)):
                continue
            try:
                if member.kind == "directory":
                    self._make(name)
                else:
                    self._make(name.parent)
                    self._write_one(member, name)
            except (FileExistsError, NotADirectoryError):
                self._refuse(member.name, "is there twice, or is both a file and a directory")
        for name, target in self.links:
            try:
                (self.root / name).symlink_to(target)
            except FileExistsError:
                self._refuse(str(name), "is there twice")
        root = self.root.resolve()
        for name, target in self.links:
            self._check_link(name, target, root)

    def _checked(self, name: str, member: str) -> PurePosixPath:
        parts = re.split(r"[/\\]", name)
        if (not parts[0] and name) or re.match(r"[A-Za-z]:", name):
            self._refuse(member, "has an absolute name")
        if ".." in parts:
            self._refuse(member, "has `..` in its name")
        return PurePosixPath(name)

    def _make(self, directory: PurePosixPath) -> None:
        """Make a directory and those above it."""
        if directory not in self.made:
            self._make(directory.parent)
            (self.root / directory).mkdir()
            self.made.add(directory)

    def _write_one(self, member: _Member, name: PurePosixPath) -> None:
        path = self.root / name
        if member.kind == "file":
            self._write_file(member, path)
        elif member.kind == "symbolic link":
            self.links.append((name, member.target))
        elif member.kind == "hard link":
            source = self.root / self._checked(member.target, member.name)
            if not source.is_file():
                self._refuse(member.name, f"is a hard link to {member.target!r}, no file before it")
            os.link(source, path)
        else:
            self._refuse(member.name, f"is a {member.kind}")

    def _write_file(self, member: _Member, path: Path) -> None:
        # before anything is written: sizes in the headers bound what the libraries give
        self.size += member.size
        if self.size > self.free:
            raise DataError(
                f"{self.archive}: holds more than the {self.free / 1e9:.1f} GB that are free at "
                f"{self.root.parent}"
            )
        if self.size > self.allowed:
            self._refuse(
                member.name,
                f"makes the content {self.size / 1e9:.1f} GB, more than {LARGEST_RATIO} times the "
                "archive",
            )
        assert member.open is not None
        with path.open("xb") as target, member.open() as source:
            shutil.copyfileobj(source, target, _BLOCK)
        if path.stat().st_size != member.size:
            self._refuse(member.name, "is cut short")

    def _check_link(self, name: PurePosixPath, target: str, root: Path) -> None:
        try:
            inside = (self.root / name).resolve(strict=True).is_relative_to(root)
        except (OSError, RuntimeError):  # to nothing; in a circle
            self._refuse(str(name), f"is a link to {target!r}, which is not there")
        depth = len(name.parent.parts)
        for part in PurePosixPath(target).parts:
            depth += -1 if part == ".." else 1
            # out and back in by the name that the directory has only while it is written
            inside = inside and depth >= 0
        if not inside or PurePosixPath(target).is_absolute():
            self._refuse(str(name), f"is a link that leads out of the archive, to {target!r}")

    def _refuse(self, name: str, fault: str) -> NoReturn:
        raise DataError(f"{self.archive}: the member {name!r} {fault}")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """The members in their order, with a progress bar over the archive's bytes."""
    with archive.open("rb") as raw:
        start = raw.read(8)
        raw.seek(0)
        total = archive.stat().st_size
        # a bar for few bytes is gone before it can be read
        with open_bar(f"unpacking {archive.name}", total, "B", True, total < 50e6) as bar:
            zipped = start[:4] in (b"PK\x03\x04", b"PK\x05\x06")
            found = _zip_members(raw) if zipped else _tar_members(raw, start, 2 * _allowed(total))
            yield _counted(found, raw, bar)


def _counted(members: Iterator[_Member], raw: IO[bytes], bar: Any) -> Iterator[_Member]:
    for member in members:
        yield member
        bar.update(max(0, raw.tell() - bar.n))


def _zip_members(raw: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(raw) as file:
        for info in file.infolist():
            if info.is_dir():
                yield _Member(info.filename, "directory")
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                target = file.read(info).decode() if info.file_size < 4096 else ""
                yield _Member(info.filename, "symbolic link", target=target)
                continue
            yield _Member(info.filename, "file", info.file_size, open=partial(file.open, info))


#: Of a long name, or of what a pax header says of a member.
_LARGEST_HEADER = 1 << 20
_HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


class _StrictInfo(tarfile.TarInfo):
    """A header; one that is damaged or missing is an error, where tarfile would end silently."""

    def _proc_member(self, tarfile_: Any) -> Any:
        """tarfile calls this for every header, those before a member's own included.

        (`frombuf` is not: the mended releases of 2025, such as Debian's 3.11 and 3.13, pass it by.)
        """
        # it would be read whole into memory, whatever size it claims; tarfile would go back by less than 0
        if self.size < 0 or (self.type in _HEADERS and self.size > _LARGEST_HEADER):
            raise tarfile.ReadError(f"the header of a member claims {self.size} bytes")
        return super()._proc_member(tarfile_)  # type: ignore[misc]

    @classmethod
    def fromtarfile(cls, tarfile_: Any) -> Any:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the mark at the end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _tar_members(raw: IO[bytes], start: bytes, largest: int) -> Iterator[_Member]:
    opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
    stream: Any = _Bounded(raw if opener is None else opener(raw), largest)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as file:
        while (info := file.next()) is not None:
            yield _Member(
                info.name,
                _tar_kind(info),
                info.size,
                info.linkname,
                partial(file.extractfile, info),  # type: ignore[arg-type]
            )
            # tarfile keeps all headers, which is gigabytes for a corpus
            file.members = []  # type: ignore[attr-defined]
        # to the end, where the checksum of the compression stands
        _check_end(file.fileobj)


def _check_end(stream: Any) -> None:
    """Read to the end of a tar, behind the mark of which nothing may follow but padding."""
    while block := stream.read(_BLOCK):
        if block.strip(b"\0"):
            raise tarfile.ReadError("there is more behind the mark of its end")


class _Bounded:
    """A stream that ends in an error behind ``largest`` bytes: headers too can be a bomb."""

    def __init__(self, stream: Any, largest: int):
        self.stream = stream
        self.left = largest

    def read(self, size: int) -> bytes:
        block: bytes = self.stream.read(size)
        self.left -= len(block)
        if self.left < 0:
            raise tarfile.ReadError(
                f"what it unpacks to is more than {LARGEST_RATIO} times the archive"
            )
        return block


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isreg():
        return "file"
    if info.isdir():
        return "directory"
    if info.issym():
        return "symbolic link"
    if info.islnk():
        return "hard link"
    return "device or pipe"
