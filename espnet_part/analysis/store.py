"""Results of an analysis on disk: what is there for the same weights, data and settings is not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError
from espnet_part.files import atomic_write
from espnet_part.parsing import read_json_object


def kept(
    path: Path, made_of: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The result in ``path``; made and written where there is none, or one of other things."""
    try:
        saved = read_json_object(path)
        if saved.get("made_of") == json.loads(json.dumps(made_of)):
            return dict(saved["result"])
    except (ConfigError, KeyError, TypeError, ValueError):
        pass  # absent, cut or of another version
    result = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        json.dump({"made_of": made_of, "result": result}, file, ensure_ascii=False)
        file.write("\n")
    return result


def examples_digest(examples: Sequence[Example]) -> str:
    """What tells a choice of examples from another."""
    lines = (f"{e.utt_id}\t{e.task}\t{e.lang}\t{e.tgt}\t{e.text}\n" for e in examples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
