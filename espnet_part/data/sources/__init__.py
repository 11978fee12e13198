"""Where the bytes of a piece of audio are: what an entry of ``wav.scp`` may name.

========================  ==================================================================
``a.flac``                a file
``a.ark:OFFSET``          an entry of a Kaldi ark
``a.tar:OFFSET:SIZE``     a member of a tar, read where it lies: SIZE bytes from OFFSET on
``s3://bucket/a.tar:…``   any of these in an object store or on a web server (see `remote`)
========================  ==================================================================

A kind of entry is a `Source`. It alone knows how its entries look; what is done with the bytes, and every
check of them, is common to all and stands in `espnet_part.data.audio`.
"""

from __future__ import annotations

import re

from espnet_part.data.sources.ark import Ark
from espnet_part.data.sources.file import File
from espnet_part.data.sources.source import Content, Source
from espnet_part.data.sources.storage import is_url, state, without_secrets
from espnet_part.data.sources.tar import Tar

__all__ = ["Content", "Source", "audio_state", "find_source", "is_url", "region", "without_secrets"]

_IN_A_FILE = re.compile(r"(.+?):(\d{1,18})(?::\d+)?")
_REGION_BITS = 24  # of offsets: 16 MiB

_SOURCES: tuple[Source, ...] = (Tar(), Ark(), File())  # what is nothing else is a file


def find_source(spec: str) -> Source:
    """The kind of an entry of ``wav.scp``."""
    return next(source for source in _SOURCES if source.matches(spec))


def audio_state(spec: str) -> str:
    """Size and time of change of the file that audio is in; what was made from it is stale when this differs.

    Of what is not on this machine's disks nobody asks: objects in stores are not written twice.
    """
    return state(find_source(spec).container(spec))


def region(spec: str) -> str:
    """The file that audio is in, or 16 MiB of it: what is fast to read together. The disk is not asked."""
    place = _IN_A_FILE.fullmatch(spec)
    return spec if place is None else f"{place[1]}:{int(place[2]) >> _REGION_BITS}"
