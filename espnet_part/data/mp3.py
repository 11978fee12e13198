"""How long an MP3 is, where the file does not say it itself.

An encoder that writes to a pipe, as servers that take recordings from browsers may do, cannot go back
and write the Xing or Info frame, which holds the number of frames. Decoders then guess it from size
and bit rate: libmpg123 counts the tags as audio, so that an intact file seems cut, and stops early
where the bit rate varies.
Here the frames are counted instead (ISO 11172-3 and 13818-3, layer III).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from espnet_part.data.headers import Patched

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")  # what may follow the last frame


class CutMp3(ValueError):
    """The file ends inside a frame."""


@dataclass(frozen=True)
class _Header:
    """The first four bytes of a frame."""

    version: int
    bits: int  # index of the bit rate
    rate: int
    padding: int
    mono: bool

    @property
    def kbits(self) -> int:
        return (_KBITS_1 if self.version == 3 else _KBITS_2)[self.bits]

    @property
    def bytes(self) -> int:
        """Length of the frame."""
        return (144 if self.version == 3 else 72) * self.kbits * 1000 // self.rate + self.padding

    @property
    def side(self) -> int:
        """Length of the side information."""
        if self.version == 3:
            return 17 if self.mono else 32
        return 9 if self.mono else 17


def with_length(file: BinaryIO) -> Patched | None:
    """The same MP3 with a frame at its start that says how many there are.

    Only an MP3 that lacks it is read to the end, frame by frame: hours of it take no memory.

    Args:
        file: must stay open while the result is used.

    Returns:
        None for anything but an MP3 of layer III, for one that says its length itself, and for one
        whose frames do not follow each other to the end.

    Raises:
        CutMp3: the last frame is incomplete.
    """
    file.seek(0)
    start = _after_id3(file.read(10))
    file.seek(start)
    head = file.read(64)
    first = _header(head, 0)
    if first is None or _says_length(head, first):
        return None
    count = _count_frames(file, start, first)
    return None if count is None else Patched(_length_frame(head, first, count), file, start)


def _after_id3(content: bytes) -> int:
    """Where the audio begins, after an ID3v2 tag; ``content`` is the first 10 bytes."""
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if content[5] & 0x10 else 0)


def _header(content: bytes, at: int) -> _Header | None:
    if at + 4 > len(content) or content[at] != 0xFF or content[at + 1] & 0xE6 != 0xE2:
        return None  # no synchronisation, or not layer III
    version, bits = content[at + 1] >> 3 & 3, content[at + 2] >> 4
    rate = content[at + 2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    padding, mono = content[at + 2] >> 1 & 1, content[at + 3] >> 6 == 3
    return _Header(version, bits, _RATES[version][rate], padding, mono)


def _says_length(content: bytes, first: _Header) -> bool:
    """Whether the first frame is a Xing, Info or VBRI header with a number of frames."""
    checksum = 0 if content[1] & 1 else 2
    for at in (4 + first.side, 4 + first.side + checksum):
        if content[at : at + 4] in (b"Xing", b"Info"):
            return len(content) > at + 8 and content[at + 7] & 1 == 1
    return content[36:40] == b"VBRI"


def _count_frames(file: BinaryIO, start: int, first: _Header) -> int | None:
    """The number of frames; None where something else lies between them."""
    size = file.seek(0, io.SEEK_END)
    at, count = start, 0
    while at < size:
        file.seek(at)
        head = file.read(4)
        header = _header(head, 0)
        if header is None or header.rate != first.rate:
            if _ends_here(file, at):
                break
            if count and len(head) < 4 and head.startswith(b"\xff"):
                raise CutMp3("the file ends inside a frame's header")
            return None
        if at + header.bytes > size:
            raise CutMp3("the file ends inside a frame")
        at += header.bytes
        count += 1
    return count


def _ends_here(file: BinaryIO, at: int) -> bool:
    """Whether nothing but tags or zeros follows."""
    file.seek(at)
    if file.read(16).startswith(_TAGS):
        return True
    file.seek(at)
    while block := file.read(1 << 16):
        if block.strip(b"\0"):
            return False
    return True


def _length_frame(head: bytes, first: _Header, count: int) -> bytes:
    """A Xing frame like the first frame, without audio."""
    needed = 4 + first.side + 12
    bits = first.bits
    frame = _Header(first.version, bits, first.rate, 0, first.mono)
    while frame.bytes < needed:
        bits += 1
        frame = _Header(first.version, bits, first.rate, 0, first.mono)
    own = bytes(
        [
            0xFF,
            head[1] | 1,  # without a checksum
            bits << 4 | head[2] & 0x0C,
            head[3],
        ]
    )
    said = b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return (own + bytes(first.side) + said).ljust(frame.bytes, b"\0")
