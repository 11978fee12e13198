"""Writing a zip that has the same bytes for the same content."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from espnet_part.files import atomic_write
from espnet_part.progress import open_bar

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can tell
_PERMISSIONS = 0o644 << 16
#: Weights and pictures do not get smaller.
_STORED = {".safetensors", ".png", ".npz", ".npy"}


def write_zip(path: Path, contents: Mapping[str, Path | bytes]) -> None:
    """Write members in the given order, whole or not at all, with a progress bar.

    Dates, permissions and owners are constant, so that the same content gives the same bytes.

    Args:
        contents: a member's name -> its bytes, or the file that holds them.
    """
    sizes = {name: _size(source) for name, source in contents.items()}
    total = sum(sizes.values())
    with (
        atomic_write(path, "wb") as raw,
        zipfile.ZipFile(raw, "w") as file,
        # a short one would be gone before it can be read
        open_bar(f"packing {path.name}", total, "B", scale=True, disable=total < 50e6) as bar,
    ):
        for name, source in contents.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = _PERMISSIONS
            info.create_system = 3  # Unix
            info.file_size = sizes[name]
            stored = Path(name).suffix in _STORED
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            with file.open(info, "w") as member:
                if isinstance(source, bytes):
                    member.write(source)
                else:
                    with source.open("rb") as content:
                        shutil.copyfileobj(content, member, 1 << 20)
            bar.update(sizes[name])


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size
