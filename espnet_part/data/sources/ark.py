"""Audio in Kaldi arks: WAV files one after another, or kaldiio's entries in any format."""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from espnet_part.data.headers import means_unknown
from espnet_part.data.sources.source import Content
from espnet_part.data.sources.storage import cut, open_file
from espnet_part.kaldi import parse_count

_ENTRY = re.compile(r"(.+):(\d+)")


class Ark:
    """``path.ark:offset``.

    An entry is not left to kaldiio, which would unpickle one that says it is a pickle.
    """

    def matches(self, spec: str) -> bool:
        if _ENTRY.fullmatch(spec) is None:
            return False
        return not os.path.exists(spec)  # noqa: PTH110 (Path raises for names that no file has)

    def container(self, spec: str) -> str:
        return spec.rpartition(":")[0]

    @contextlib.contextmanager
    def open(self, spec: str) -> Iterator[Content]:
        with open_entry(spec) as (file, size):
            offset = file.tell()
            head = file.read(8)
            if head[:4] == b"RIFF" and len(head) == 8:
                length = struct.unpack("<I", head[4:])[0]
                if means_unknown(length):
                    yield Content(_last(file, offset, size))
                else:
                    yield Content(cut(file, offset, length + 8))
            elif head[:5] == b"AUDIO" and len(head) == 8:
                file.seek(offset + 6)
                length = int.from_bytes(file.read(head[5]), "little")
                yield Content(cut(file, offset + 6 + head[5], length))
            else:
                raise ValueError(f"no audio at offset {offset} of the ark")


@contextlib.contextmanager
def open_entry(spec: str) -> Iterator[tuple[BinaryIO, int]]:
    """An ark at the offset of an entry, and the ark's size.

    Raises:
        ValueError: not of the form ``path.ark:offset``, or the offset lies beyond the ark's end.
    """
    match = _ENTRY.fullmatch(spec)
    if match is None:
        raise ValueError(f"not of the form path.ark:offset: {spec}")
    with open_file(match[1]) as file:
        size = file.seek(0, io.SEEK_END)
        offset = parse_count(match[2])
        if offset is None or offset >= size:
            raise ValueError(
                f"the offset {match[2][:20]} lies beyond the end of the ark ({size} bytes)"
            )
        file.seek(offset)
        yield file, size


def _last(file: BinaryIO, offset: int, size: int) -> BinaryIO:
    """An entry whose header does not say its length: it can only be the ark's last one."""
    file.seek(offset)
    content = file.read(size - offset)
    if b" RIFF" in content or b" AUDIO" in content:
        raise ValueError("an entry of unknown length, with others behind it")
    return io.BytesIO(content)
