"""Tar shards in WebDataset's layout as data directories whose audio stays in the shards.

A sample is what has one name up to the first dot and stands together: ``a/0001.flac``, ``a/0001.txt``,
``a/0001.json``. Beside a shard an index tells where its members are (``SHARD.idx``, as NVIDIA's wds2idx
writes it), so that it need not be gone through again.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from espnet_part.archive import TarMember, list_tar
from espnet_part.corpora.patterns import find_files
from espnet_part.corpora.records import Record, Unusable
from espnet_part.data.sources import without_secrets
from espnet_part.data.sources.storage import cut, is_url, open_file
from espnet_part.data.sources.tar import member, open_member
from espnet_part.errors import ConfigError, DataError
from espnet_part.files import atomic_write
from espnet_part.inputs import bad_input, open_input
from espnet_part.kaldi import parse_count
from espnet_part.parsing import parse_json

AUDIO = ("flac", "wav", "mp3", "ogg", "opus", "oga", "m4a", "aiff", "au", "sph", "w64", "caf")
_LARGEST_TEXT = 1 << 20
_LARGEST_INDEX = 1 << 28
_BUFFER = 1 << 16
_VERSION = "v1.2"


def find_shards(patterns: Sequence[str]) -> list[str]:
    """The tars that are meant (see `find_files`).

    Raises:
        ConfigError: a pattern that nothing matches, or what is no tar.
    """
    found = find_files("--shards", patterns)
    if wrong := next((path for path in found if not path.endswith(".tar")), None):
        raise ConfigError(
            f"--shards: {without_secrets(wrong)}: must end in .tar; a compressed tar cannot be read by "
            "place, unpack it to a plain one (gunzip)"
        )
    return found


def read_shards(shards: Iterable[str], prefix: bool = False) -> Iterator[Record | Unusable]:
    """The samples of shards, and what is no sample of speech; an index is written beside each shard.

    Args:
        prefix: whether names begin with the shard's name, where they are unique in it alone.
    """
    for shard in shards:
        stem = f"{shard.rpartition('/')[2].removesuffix('.tar')}/" if prefix else ""
        faults: list[Unusable] = []
        known = read_index(shard)
        try:
            with bad_input(DataError), open_file(shard) as file:
                if isinstance(file, io.RawIOBase):  # a request brings more than one header
                    file = io.BufferedReader(file, _BUFFER)
                for parts in _samples(known or _list(shard, file, faults)):
                    yield _record(shard, file, stem, parts)
        except DataError as error:
            mend = (
                f"; or its index is wrong: remove {without_secrets(_index(shard))}" if known else ""
            )
            yield Unusable(without_secrets(shard), "damaged or unreadable shard", f"{error}{mend}")
        yield from faults


def _samples(members: Iterable[TarMember]) -> Iterator[list[TarMember]]:
    """Members that stand together and have one key; the last ones also before an error."""
    sample: list[TarMember] = []
    try:
        for one in members:
            if sample and _split(one.name)[0] != _split(sample[0].name)[0]:
                yield sample
                sample = []
            sample.append(one)
    except DataError:
        if sample:
            yield sample
        raise
    if sample:
        yield sample


def _split(name: str) -> tuple[str, str]:
    """WebDataset's key and extension: a name is cut at the first dot of its last part."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _list(shard: str, file: BinaryIO, faults: list[Unusable]) -> Iterator[TarMember]:
    """The files in a shard; what else is in it goes to ``faults``."""
    listed: list[TarMember] = []
    for one in list_tar(file, without_secrets(shard)):
        if one.kind == "directory":
            continue
        odd = "" if one.kind == "file" else f"a {one.kind}"
        if one.name.startswith("/") or ".." in one.name.split("/"):
            odd = "a name that leads out of the shard"
        if odd:
            faults.append(Unusable(f"{without_secrets(shard)}: {one.name}", odd))
            continue
        listed.append(one)
        yield one
    if not is_url(shard):
        _write_index(shard, listed)


def read_index(shard: str) -> list[TarMember] | None:
    """The members of a shard by its index; None where there is none, or an older or another one."""
    try:
        index = _index(shard)
        if not is_url(shard) and _changed(index) < _changed(shard):
            return None
        with open_file(index) as file:
            most = min(file.seek(0, io.SEEK_END), _LARGEST_INDEX)
            version, *samples = cut(file, 0, most).read().decode().splitlines()
    except (OSError, ValueError):
        return None
    if version.split() != [_VERSION, str(len(samples))]:
        return None
    members = []
    for sample in samples:
        words = sample.split(" ")
        for name, offset, size in zip(words[3::4], words[1::4], words[2::4], strict=False):
            start, length = parse_count(offset), parse_count(size)
            if start is None or length is None:
                return None
            members.append(TarMember(name, "file", start, length))
    return members


def _changed(path: str) -> int:
    """When a file came to be what it is: a copy may bring an old time along, but not the system's own."""
    found = Path(path).stat()
    return max(found.st_mtime_ns, found.st_ctime_ns)


def _index(shard: str) -> str:
    return f"{shard.removesuffix('.tar')}.idx"


def _write_index(shard: str, members: Sequence[TarMember]) -> None:
    path = Path(_index(shard))
    if any(" " in one.name or not one.name.isprintable() for one in members):
        return  # its form has no place for them
    lines = [
        " ".join(f"{_split(m.name)[1] or '-'} {m.offset} {m.size} {m.name}" for m in sample)
        for sample in _samples(members)
    ]
    # shards may lie where nobody may write; it is but a short cut
    with contextlib.suppress(OSError):
        if path.exists() and not _is_index(path):
            return  # another program's
        with atomic_write(path) as file:
            file.write("\n".join([f"{_VERSION} {len(lines)}", *lines, ""]))


def _is_index(path: Path) -> bool:
    with open_input(path) as file:
        return file.read(len(_VERSION)) == _VERSION.encode()


def _record(shard: str, file: BinaryIO, stem: str, parts: Sequence[TarMember]) -> Record | Unusable:
    key = _split(parts[0].name)[0]
    where = f"{without_secrets(shard)}: {key}"
    by_kind = {_split(part.name)[1]: part for part in parts}
    audio = [part for kind, part in by_kind.items() if kind.rpartition(".")[2] in AUDIO]
    if len(audio) != 1 or len(by_kind) < len(parts):
        what = "two members of one name" if len(by_kind) < len(parts) else "no audio in a sample"
        names = " ".join(part.name for part in parts)
        return Unusable(where, "several audio files in a sample" if len(audio) > 1 else what, names)
    values: dict[str, Any] = {}
    for kind, part in by_kind.items():
        if part is audio[0] or kind.startswith("_"):
            continue
        if part.size > _LARGEST_TEXT:
            if kind in ("txt", "json"):
                return Unusable(where, "text too long", f"{part.name}: {part.size} bytes")
            continue
        content = open_member(file, part.offset, part.size).read()
        try:
            text = content.decode("utf-8-sig")
            values[kind] = parse_json(text, part.name) if kind == "json" else text
        except UnicodeDecodeError:
            if kind in ("txt", "json"):
                return Unusable(where, "wrong encoding", f"{part.name}: not UTF-8")
        except ConfigError as error:
            return Unusable(where, "no JSON", str(error))
    return Record(f"{stem}{key}", values, member(shard, audio[0].offset, audio[0].size))
