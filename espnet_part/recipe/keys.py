"""Keys: hashes of what the result of a piece of work depends on, and of nothing else.

A key holds the options that change the result, configurations with what they inherit, and the
identity of what earlier stages made (their content, not when or how it was made). Where a result
comes from the same data by the same rules, its key is the same: on another number of GPUs or nodes,
with other numbers of jobs and workers, after data were made again and came out alike.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_part.config import load_yaml
from espnet_part.data.sources import find_source, is_url
from espnet_part.files import is_regular
from espnet_part.kaldi import iter_table
from espnet_part.model.base import fingerprint
from espnet_part.parsing import parse_yaml
from espnet_part.recipe.options import split_options


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Options of a training that do not change what it learns.
NEUTRAL_TRAINING = _names(
    "config model_config output_dir resume ngpu num_nodes parallel num_threads num_workers "
    "max_bins_per_gpu max_batch_size_per_gpu log_level log_interval save_interval save_minutes "
    "keep_checkpoints keep_checkpoint_hours hang_minutes dist_timeout use_matplotlib "
    "use_tensorboard create_graph_in_tensorboard use_wandb wandb_project wandb_id wandb_entity "
    "wandb_name wandb_model_log_interval print_config required dry_run prefetch_factor "
    "dist_backend dist_init_method dist_world_size dist_rank local_rank dist_master_addr "
    "dist_master_port dist_launcher multiprocessing_distributed unused_parameters "
    "gradient_as_bucket_view detect_anomaly cudnn_benchmark max_cache_size max_cache_fd"
)
#: Options of decoding and of extraction that do not change what is decoded and extracted.
NEUTRAL_DECODING = _names("config batch_size batch_bins ngpu num_threads log_level output_dir")
NEUTRAL_EXTRACTION = _names("ngpu nj job num_threads log_level batch_bins")

_SAMPLED_FILES = 256
_LARGE_FILE = 1 << 26  # from here on, slices of a base model's weights tell it from others


def digest(*parts: Any) -> str:
    """The hash of values that JSON can hold; the order of a mapping's keys does not matter."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def file_digest(path: Path) -> str | None:
    """The hash of a file's content; None where there is none."""
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                hashed.update(block)
    except OSError:
        return None
    return hashed.hexdigest()


def tree_digest(path: Path) -> str | None:
    """The hash of a file, or of all files below a directory with their names."""
    if not path.is_dir():
        return file_digest(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest([(str(file.relative_to(path)), _weights_digest(file)) for file in files])


def _weights_digest(path: Path) -> str | None:
    return fingerprint([path]) if path.stat().st_size > _LARGE_FILE else file_digest(path)


def data_digest(directory: Path) -> str:
    """What is in a data directory: its tables, and its audio.

    Where audio lies is no part of it. Of the recordings up to 256, spread over the directory, are read,
    so audio that was made anew and differently is told at once, however large a corpus is.
    """
    tables: list[tuple[str, str | None]] = []
    for path in sorted(directory.iterdir()):
        if path.name == "wav.scp":
            tables.append((path.name, _digest_ids(path)))
        elif path.is_file() and not path.suffix and not path.name.startswith("."):
            tables.append((path.name, file_digest(path)))
    return digest(tables, [_audio_digest(audio) for audio in _sample(directory / "wav.scp")])


def _digest_ids(path: Path) -> str:
    hashed = hashlib.sha256()
    for _, utt, _ in iter_table(path, _pass_over):
        hashed.update(f"{utt}\n".encode())
    return hashed.hexdigest()


def _sample(wav_scp: Path) -> list[str]:
    if not wav_scp.is_file():
        return []

    def audio() -> Iterator[str]:
        return (value for _, _, value in iter_table(wav_scp, _pass_over) if value)

    step = max(1, sum(1 for _ in audio()) // _SAMPLED_FILES)
    return list(itertools.islice(audio(), 0, step * _SAMPLED_FILES, step))


def _pass_over(*_: object) -> None:
    """What is wrong with a line is told by the stage that reads the table."""


def _audio_digest(audio: str) -> str | None:
    if is_regular(audio):
        return file_digest(Path(audio))
    if is_url(audio):
        return None
    try:
        with find_source(audio).open(audio) as content:
            return hashlib.sha256(content.file.read(1 << 16)).hexdigest()
    except (OSError, ValueError):  # ValueError: not there, or a name with a NUL in it
        return None


def model_digest(path: str, bases: Mapping[str, str]) -> str:
    """The model that a model file describes, with the content of its prompts.

    Args:
        path: the model file.
        bases: the identity of base models by the names and paths that the file has for them.

    Raises:
        ConfigError: a file that cannot be read.
    """
    values = load_yaml(path)
    prompts = values.get("prompts")
    if isinstance(prompts, str) and is_regular(prompts):
        values["prompts"] = load_yaml(prompts)
    if isinstance(values.get("llm_conf"), dict):
        values["llm_conf"].pop("gradient_checkpointing", None)
    return digest(_replaced(values, bases))


def _replaced(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def training_digest(stage: str, words: Sequence[str], where: str = "--part_args") -> str:
    """What a stage file and more options (of the option ``where``) make of a training.

    A step is ``batch_bins x accum_grad`` (or ``batch_size x accum_grad``), however it is split.

    Raises:
        ConfigError: the stage file, or an option's value, cannot be read.
    """
    values = {key: v for key, v in load_yaml(stage).items() if key not in NEUTRAL_TRAINING}
    options, rest = _split_options(words, NEUTRAL_TRAINING)
    sizes: dict[str, Any] = {}
    for name in ("batch_bins", "batch_size", "accum_grad"):
        given = [value for option, value in options if option == name]
        sizes[name] = values.get(name)
        if given and given[-1]:
            sizes[name] = parse_yaml(given[-1][0], f"{where}: --{name}")
        values.pop(name, None)
    accumulated = sizes["accum_grad"] if isinstance(sizes["accum_grad"], int) else 1
    step = {
        name: value * accumulated if isinstance(value, int) else value
        for name, value in sizes.items()
        if name != "accum_grad" and value is not None
    }
    if not step:
        step = {"accum_grad": accumulated}
    left = [(option, value) for option, value in options if option not in sizes]
    return digest(values, step, left, rest)


def decoding_digest(config: str, words: Sequence[str], neutral: frozenset[str]) -> str:
    """What a configuration file (if any) and more options make of a decoding.

    Raises:
        ConfigError: the file cannot be read.
    """
    values = load_yaml(config) if config else {}
    values = {key: value for key, value in values.items() if key not in neutral}
    return digest(values, *_split_options(words, neutral))


def _split_options(
    words: Sequence[str], neutral: frozenset[str]
) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """(option, its values) in their order without neutral ones, and the words before any option."""
    options, before = split_options(words)
    named = [(name.replace("-", "_"), values) for name, values in options]
    return [option for option in named if option[0] not in neutral], before
