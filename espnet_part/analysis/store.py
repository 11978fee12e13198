"""Results of an analysis on disk: what is there for the same weights, data and settings is not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_part.analysis.checkpoints import PhaseModel
from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError
from espnet_part.files import atomic_write
from espnet_part.model.base import file_sha256
from espnet_part.pack.locations import load_run_config
from espnet_part.parsing import read_json_object
from espnet_part.weights import identity, read_header


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
    return hashlib.sha256("\n".join(map(repr, examples)).encode()).hexdigest()


def model_digest(model: PhaseModel) -> str:
    """What tells a model from others: its weights and base models, its configuration, its prompts."""
    header, _ = read_header(model.weights)
    prompts = load_run_config(model.config).get("prompts")
    parts = [identity(model.weights), json.dumps(header, sort_keys=True), file_sha256(model.config)]
    parts += [file_sha256(Path(prompts))] if prompts and Path(prompts).is_file() else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
