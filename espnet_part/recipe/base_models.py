"""The base models that a model file names: fetched, and identified by their content.

    python -m espnet_part.recipe.base_models MODEL.yaml

makes sure that they are on this machine: a directory is checked for being there; a hub name is looked up
in the local cache and fetched when it is not there (configuration, tokenizer and safetensors only).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_part.command import command
from espnet_part.errors import ConfigError, DataError
from espnet_part.model.config import ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.recipe.keys import tree_digest

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def base_names(path: str) -> list[tuple[str, str | None]]:
    """(name or path, revision) of what a model file builds upon.

    Raises:
        ConfigError: from the model file.
    """
    config = ModelConfig.load(path)
    encoder, llm = config.encoder_conf, config.llm_conf
    kind = ENCODERS.conf(config.encoder)
    names: list[tuple[str | None, str | None]] = [
        (getattr(encoder, key), None) for key in kind.FILES
    ]
    names += [(getattr(encoder, key), getattr(encoder, "revision", None)) for key in kind.MODELS]
    names += [(llm.name, llm.revision), (llm.tokenizer, None)]
    return [(name, revision) for name, revision in names if name is not None]


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

    found = _cached(name, revision)
    if found is not None:
        return found
    try:
        return snapshot_download(name, revision=revision, allow_patterns=PATTERNS)
    except Exception as error:
        raise DataError(
            f"{name}: cannot be fetched from the hub and is not in the local cache (HF_HOME): "
            f"{' '.join(str(error).split())[:300]}"
        ) from None


def _cached(name: str, revision: str | None) -> str | None:
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            name, revision=revision, allow_patterns=PATTERNS, local_files_only=True
        )
    except Exception:  # not in the cache, in whatever form that is said
        return None


def identify_base_models(path: str) -> dict[str, str]:
    """What the base models are, by the names that a model file has for them.

    A directory or a file is its content, wherever it lies; a model of the hub is its commit. What is
    not there is its name.

    Raises:
        ConfigError: from the model file.
    """
    found = identify_local(path)
    for name, revision in base_names(path):
        if name not in found and name.count("/") == 1 and not name.startswith((".", "/")):
            cached = _cached(name, revision)
            found[name] = f"{name}@{Path(cached).name}" if cached else name
    return found


def identify_local(path: str) -> dict[str, str]:
    """As `identify_base_models`, of directories and files alone; it asks no cache and is quick."""
    names = [name for name, _ in base_names(path) if Path(name).exists()]
    return {name: tree_digest(Path(name)) or name for name in names}


def made_here(path: str, identities: Mapping[str, str]) -> list[Path]:
    """The directories and files of a model file that were here when `identify_base_models` looked."""
    return [
        Path(name)
        for name in dict.fromkeys(name for name, _ in base_names(path))
        if name in identities and identities[name].partition("@")[0] != name
    ]


@command
def main(cmd: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if cmd is None else cmd)
    if len(words) != 1 or words[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if words and words[0] != "" and words[0].startswith("-") else 2)
    missing = [
        name
        for name, revision in base_names(words[0])
        if Path(name).suffix in (".yaml", ".pth", ".safetensors") and not Path(name).is_file()
    ]
    if missing:
        raise ConfigError(f"{words[0]}: encoder_conf: no such file: {', '.join(missing)}")
    for name, revision in base_names(words[0]):
        print(f"{name}: {fetch(name, revision)}")


if __name__ == "__main__":
    main()
