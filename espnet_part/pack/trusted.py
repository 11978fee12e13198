"""What a packed model may be built of: nothing that fetches, unpickles or runs more by itself.

Weights are safetensors and configurations are plain data, but a configuration can also name things
that do more when they are built, such as an attention that is a compiled kernel of the hub. A model of
a stranger must not. What an encoder may be, its kind says (`espnet_part.model.kinds.PackingPart`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.model.base import ATTENTION
from espnet_part.model.config import DEFAULT_ENCODER
from espnet_part.model.encoders import ENCODERS


def check_packed(values: Mapping[str, Any], where: Path) -> None:
    """Refuse what a packed configuration must not name.

    Args:
        values: the packed configuration, with paths that can be opened. where: its file.

    Raises:
        DataError: names it.
    """
    attention = _section(values, "llm_conf").get("attention", "sdpa")
    if attention not in ATTENTION:
        raise DataError(
            f"{where}: llm_conf: attention: {attention!r} is none of {', '.join(ATTENTION)}; "
            "others may run code of the hub"
        )
    kind = values.get("encoder", DEFAULT_ENCODER)
    try:
        ENCODERS.packing(kind).check(_section(values, "encoder_conf"), where)
    except ConfigError as error:
        raise DataError(f"{where}: {error}") from None


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}  # what is wrong is told later
