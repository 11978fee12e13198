"""Audio that is a file of its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from espnet_part.data.sources.source import Content
from espnet_part.data.sources.storage import cut, is_url, open_file


class File:
    """``path`` or a URL."""

    def matches(self, spec: str) -> bool:
        return True

    def container(self, spec: str) -> str:
        return spec

    @contextlib.contextmanager
    def open(self, spec: str) -> Iterator[Content]:
        with open_file(spec) as file:
            if is_url(spec):
                yield Content(cut(file, 0, file.seek(0, io.SEEK_END)))
            else:
                yield Content(file, spec)
