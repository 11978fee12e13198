"""A directory that appears whole or not at all, and only once for the same options."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espnet_part.errors import DataError
from espnet_part.files import atomic_write, sync_directory

MARKER = "options.json"


@contextmanager
def finished_directory(out: Path, options: dict[str, Any]) -> Iterator[Path | None]:
    """Give a fresh directory beside ``out``, renamed to ``out`` when the block ends well.

    Yields None when ``out`` was made with the same options before; made with others, it is
    replaced.

    Raises:
        DataError: ``out`` exists and was not made by this function.
    """
    description = json.dumps(options, indent=1, sort_keys=True, default=list) + "\n"
    marker = out / MARKER
    if marker.is_file() and marker.read_text(encoding="utf-8") == description:
        yield None
        return
    if out.exists() and not marker.is_file() and any(out.iterdir()):
        raise DataError(f"{out}: holds files that were not made here; give another directory")
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        with atomic_write(aside / MARKER) as file:
            file.write(description)
        if out.exists():
            shutil.rmtree(out)
        aside.replace(out)
        sync_directory(out.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
