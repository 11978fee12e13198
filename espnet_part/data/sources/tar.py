"""Audio in tars, such as the shards of a WebDataset, which are never unpacked."""

from __future__ import annotations

import contextlib
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from espnet_part.data.headers import Patched
from espnet_part.data.sources.source import Content
from espnet_part.data.sources.storage import cut, open_file
from espnet_part.kaldi import parse_count

_MEMBER = re.compile(r"(.+\.tar):(\d+):(\d+)")


class Tar:
    """``path.tar:OFFSET:SIZE``, where the bytes of a member are.

    The header before them must say that SIZE bytes of a file follow, so that a tar which was written anew
    since its members were listed is noticed.
    """

    def matches(self, spec: str) -> bool:
        return _MEMBER.fullmatch(spec) is not None

    def container(self, spec: str) -> str:
        return spec.rsplit(":", 2)[0]

    @contextlib.contextmanager
    def open(self, spec: str) -> Iterator[Content]:
        match = _MEMBER.fullmatch(spec)
        assert match is not None
        offset, size = parse_count(match[2]), parse_count(match[3])
        if offset is None or size is None:
            raise ValueError(f"no place in a tar: {match[2][:20]}:{match[3][:20]}")
        with open_file(match[1]) as file:
            yield Content(open_member(file, offset, size))


def open_member(tar: BinaryIO, offset: int, size: int) -> BinaryIO:
    """A file in a tar; ``tar`` must stay open while it is used.

    Raises:
        ValueError: there is no such member, or the tar ends before it does.
    """
    if offset < tarfile.BLOCKSIZE:
        raise ValueError(f"no place in a tar: {offset}")
    # with its header, for one request
    part = cut(tar, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE + size)
    if not _begins_file(part.read(tarfile.BLOCKSIZE), size):
        raise ValueError(
            f"no file of {size} bytes begins at byte {offset} of the tar, which has changed since its "
            "members were listed; list them again (part_import_tar)"
        )
    return cast(BinaryIO, Patched(b"", part, tarfile.BLOCKSIZE))


def member(tar: str, offset: int, size: int) -> str:
    """The entry of ``wav.scp`` for a member of a tar."""
    return f"{tar}:{offset}:{size}"


def _begins_file(header: bytes, size: int) -> bool:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and info.size == size
