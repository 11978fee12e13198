"""Tars as WebDataset writes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile


def encode(wave: np.ndarray, form: str = "flac", rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form)
    return buffer.getvalue()


def write_tar(
    path: Path, members: Iterable[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT
) -> dict[str, str]:
    """Write a tar of (name, content); gives the entry of wav.scp of each member."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(path) as tar:
        return {m.name: f"{path}:{m.offset_data}:{m.size}" for m in tar.getmembers()}
