"""Writing a zip that has the same bytes for the same content."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from espnet_part.files import atomic_write

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
    from tqdm import tqdm

    sizes = {name: _size(source) for name, source in contents.items()}
    total = sum(sizes.values())
    with (
        atomic_write(path, "wb") as raw,
        zipfile.ZipFile(raw, "w") as file,
        tqdm(
            total=total,
            desc=f"packing {path.name}",
            unit="B",
            unit_scale=True,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            disable=total < 50e6,  # gone before it can be read
        ) as bar,
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
