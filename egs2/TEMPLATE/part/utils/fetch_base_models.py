#!/usr/bin/env python3
"""Make sure that the base models which a model configuration names are on this machine.

    fetch_base_models.py MODEL.yaml

A directory is checked for being there; a hub name is looked up in the local cache and fetched when it
is not there (configuration, tokenizer and safetensors weights only).
"""

from __future__ import annotations

import sys
from pathlib import Path

from espnet_part.config import load_yaml
from espnet_part.errors import DataError, UserError
from espnet_part.model.config import ESPnetEncoderConf, ModelConfig

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def fetch(name: str, revision: str | None) -> str:
    """Return the directory of a model.

    Raises:
        DataError: it is neither here nor to be had.
    """
    if Path(name).exists():
        return name
    if name.startswith((".", "/")) or name.count("/") != 1:
        raise DataError(f"{name}: no such directory")
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            name, revision=revision, allow_patterns=PATTERNS, local_files_only=True
        )
    except Exception:  # not in the cache; whatever its form, the next attempt tells more
        pass
    try:
        return snapshot_download(name, revision=revision, allow_patterns=PATTERNS)
    except Exception as error:
        raise DataError(
            f"{name}: cannot be fetched from the hub and is not in the local cache (HF_HOME): "
            f"{' '.join(str(error).split())[:300]}"
        ) from None


def main(path: str) -> None:
    config = ModelConfig.from_mapping(load_yaml(path), path)
    encoder, llm = config.encoder_conf, config.llm_conf
    wanted: list[tuple[str, str | None]] = []
    if isinstance(encoder, ESPnetEncoderConf):
        wanted += [(file, None) for file in (encoder.train_config, encoder.model_file) if file]
        missing = [file for file, _ in wanted if not Path(file).is_file()]
        if missing:
            raise DataError(f"{path}: encoder_conf: no such file: {', '.join(missing)}")
    elif encoder.name is not None:
        wanted.append((encoder.name, encoder.revision))
    if llm.name is not None:
        wanted.append((llm.name, llm.revision))
    if llm.tokenizer is not None:
        wanted.append((llm.tokenizer, None))
    for name, revision in wanted:
        print(f"{name}: {fetch(name, revision)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except UserError as error:
        sys.exit(f"fetch_base_models.py: error: {error}")
