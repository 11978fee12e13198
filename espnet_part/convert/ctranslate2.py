"""The variables of a CTranslate2 model (``model.bin``, https://opennmt.net/CTranslate2).

CTranslate2's converters write this format and nothing reads it back into a trainable model. The file
is data alone: lengths are checked against the file before anything is allocated.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from espnet_part.errors import DataError

VERSION = 6
_MOST_VARIABLES = 100_000
_DTYPES: dict[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


@dataclass(frozen=True)
class CTranslate2Model:
    """A model file's content.

    Attributes:
        spec: the name of the model's architecture, such as ``WhisperSpec``.
        variables: arrays by name, in the file's dtypes; those of a shared variable are one object.
    """

    spec: str
    variables: dict[str, NDArray[np.generic]]


def read_model(path: Path) -> CTranslate2Model:
    """Read a ``model.bin``.

    Raises:
        DataError: not a file of version 6, a dtype without a NumPy equivalent, or a damaged file.
    """
    with path.open("rb") as file:
        reader = _Reader(path, file)
        if (version := reader.number("<I")) != VERSION:
            raise DataError(f"{path}: no CTranslate2 model of version {VERSION} (found {version})")
        spec = reader.text()
        reader.number("<I")  # the architecture's revision
        variables: dict[str, NDArray[np.generic]] = {}
        for _ in range(reader.count()):
            name, array = reader.variable()
            variables[name] = array
        for _ in range(reader.count()):
            alias, name = reader.text(), reader.text()
            if name not in variables:
                raise DataError(f"{path}: {alias} stands for {name}, which is not there")
            variables[alias] = variables[name]
        if file.read(1):
            raise DataError(f"{path}: more bytes than the format has")
    return CTranslate2Model(spec, variables)


class _Reader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._left = path.stat().st_size

    def bytes(self, size: int) -> bytes:
        if size > self._left:
            raise DataError(f"{self._path}: ends too early: damaged, or not wholly downloaded")
        self._left -= size
        return self._file.read(size)

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.bytes(struct.calcsize(layout)))
        return int(value)

    def count(self) -> int:
        if (count := self.number("<I")) > _MOST_VARIABLES:
            raise DataError(f"{self._path}: damaged: {count} variables")
        return count

    def text(self) -> str:
        try:
            return self.bytes(self.number("<H")).rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{self._path}: damaged: a name that is no text") from None

    def variable(self) -> tuple[str, NDArray[np.generic]]:
        name = self.text()
        shape = [self.number("<I") for _ in range(self.number("<B"))]
        code, size = self.number("<B"), self.number("<I")
        if code not in _DTYPES:
            raise DataError(f"{self._path}: {name}: a number format that is not known ({code})")
        dtype = np.dtype(_DTYPES[code])
        if math.prod(shape) * dtype.itemsize != size:
            raise DataError(f"{self._path}: damaged: {name} has {size} bytes for the shape {shape}")
        return name, np.frombuffer(self.bytes(size), dtype).reshape(shape)
