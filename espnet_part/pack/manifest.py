"""The hashes of a packed model's files: made when it is packed, compared when it is found.

Reading gigabytes at each start would cost more than the model's loading, so what was compared once is
trusted as long as the file system says that the files have not been touched since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_part.display import plain
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.model.base import file_sha256

#: The key of meta.yaml.
KEY = "sha256"
#: ESPnet's model zoo writes paths of this machine into these two.
REWRITTEN = ("meta.yaml", "config.yaml")


def manifest_of(members: Mapping[str, Path | bytes]) -> dict[str, str]:
    """Member name -> hash, for all but the `REWRITTEN`."""
    return {
        name: hashlib.sha256(source).hexdigest()
        if isinstance(source, bytes)
        else file_sha256(source)
        for name, source in sorted(members.items())
        if name not in REWRITTEN
    }


def check_files(directory: Path, manifest: Any, cache: Path) -> None:
    """Compare the files of a packed model with its manifest, each once until it is touched.

    Args:
        directory: of the model. manifest: what its meta.yaml says; None in those of version 0.1.
        cache: where it is noted what was compared; what cannot be noted is compared again.

    Raises:
        DataError: a file is missing or has changed, or the manifest is none.
    """
    if manifest is None:
        return
    if not isinstance(manifest, dict) or not all(isinstance(v, str) for v in manifest.values()):
        raise DataError(f"{directory}/meta.yaml: {KEY}: must map names of files to their hashes")
    root = directory.resolve()
    note = cache / "compared" / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
    compared = _read_note(note)
    found: dict[str, list[Any]] = {}
    for name, expected in manifest.items():
        path = directory / name
        # links of the hub's cache lead out of the directory, to the files that count
        if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file():
            raise DataError(f"{directory}: {plain(name, 200)} is missing; unpack the model again")
        status = path.stat()
        found[name] = [expected, status.st_size, status.st_mtime_ns, status.st_ino]
        if compared.get(name) != found[name] and file_sha256(path) != expected:
            raise DataError(
                f"{path}: damaged: it is not the file that was packed; remove {directory}, and the "
                "model is unpacked or fetched again"
            )
    if found != compared:
        try:
            with atomic_write(note) as file:
                json.dump(found, file)
        except OSError:
            pass  # no cache that can be written to


def _read_note(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
