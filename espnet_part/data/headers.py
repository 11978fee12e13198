"""WAV, RF64 and CAF headers written before the length was known.

A program that writes to a pipe cannot go back and fill in the number of bytes; what it leaves there
differs: 0, the largest number (ffmpeg, most services), 0x7ffff000 (sox, eSpeak NG), 0x7fff0000
(GStreamer), 0x7fffffff, 0x80000000 (arecord) and what is a few bytes below such a number. The real
length is that of the file.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

_LONGEST_HEADER = 1 << 16
_NEAR = (
    1 << 16
)  # what stands for "unknown" may be less by a header or by what does not fill a block


class Patched(io.RawIOBase):
    """A file from ``start`` on, ``size`` bytes or to its end, with other bytes before it.

    Holds no more than is asked for.
    """

    def __init__(self, head: bytes, file: BinaryIO, start: int, size: int | None = None):
        self.head, self.file, self.start = head, file, start
        self.size = len(head) + (file.seek(0, io.SEEK_END) - start if size is None else size)
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, offset + (0, self.at, self.size)[whence])
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self.size - self.at)]
        found = self.head[self.at : self.at + len(view)]
        # libsndfile takes less than it has asked for as the end
        if len(found) < len(view):
            self.file.seek(self.start + max(0, self.at - len(self.head)))
            found += self.file.read(len(view) - len(found))
        view[: len(found)] = found
        self.at += len(found)
        return len(found)


def means_unknown(length: int) -> bool:
    """Whether a number of bytes in a header says that the length was not known."""
    if length in (0, -1) or length >= 0xFFFFFFFF - _NEAR:
        return True
    return any(
        known - _NEAR <= length <= known + 0x100 for known in (0x7F000000, 0x7FFF0000, 0x80000000)
    )


def with_known_length(file: BinaryIO) -> Patched | None:
    """The same file with its real length in the header.

    Args:
        file: must stay open while the result is used.

    Returns:
        None where the header says a length, be it right or wrong, and for other formats.
    """
    file.seek(0)
    magic = file.read(12)
    if magic[:4] in (b"RIFF", b"RF64", b"BW64") and magic[8:] == b"WAVE":
        return _wav(file)
    if magic[:4] == b"caff":
        return _caf(file)
    return None


def _wav(file: BinaryIO) -> Patched | None:
    size = file.seek(0, io.SEEK_END)
    long_sizes = None  # where ds64 holds the length of the data
    at = 12
    while at + 8 <= min(size, _LONGEST_HEADER):
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":
            long_sizes = at + 8
        if name == b"data":
            break
        at += 8 + length + length % 2
    else:
        return None
    start = at + 8
    rest = size - start
    if long_sizes is not None and length == 0xFFFFFFFF:
        file.seek(long_sizes + 8)
        length = int.from_bytes(file.read(8), "little")
    if not rest or (length and length <= rest) or not means_unknown(length):
        return None
    if length == 0 and _chunks_to_the_end(file, start, size):
        return None  # it really holds no samples
    file.seek(0)
    head = bytearray(file.read(start))
    if long_sizes is not None:
        head[long_sizes : long_sizes + 16] = struct.pack("<QQ", size - 8, rest)
    elif rest < 0xFFFFFFF0:
        head[4:8] = struct.pack("<I", min(size - 8, 0xFFFFFFFF))
        head[at + 4 : start] = struct.pack("<I", rest)
    else:
        return None  # libsndfile takes the largest number for what it is
    return Patched(bytes(head), file, start)


def _chunks_to_the_end(file: BinaryIO, at: int, size: int) -> bool:
    """Whether nothing but whole chunks with printable names follows."""
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if not name.isascii() or not name.decode().isprintable():
            return False
        at += 8 + length + length % 2
    return size <= at <= size + 1


def _caf(file: BinaryIO) -> Patched | None:
    size = file.seek(0, io.SEEK_END)
    at = 8
    while at + 12 <= min(size, _LONGEST_HEADER):
        file.seek(at)
        name, length = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            if length != -1:
                return None
            file.seek(0)
            head = file.read(at + 4) + struct.pack(">q", size - at - 12)
            return Patched(head, file, at + 12)
        if length < 0:
            return None
        at += 12 + length
    return None
