"""What a model was trained on and how, gathered from what the training left on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_part.config import load_yaml
from espnet_part.kaldi import iter_table
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.score.origin import read_corpus_file

#: What of a training's configuration says how the model came about. The rest is about the machine:
#: paths, processes, logs.
TRAINING_KEYS = (
    "phases",
    "seed",
    "optim",
    "optim_conf",
    "scheduler",
    "scheduler_conf",
    "exclude_weight_decay",
    "grad_clip",
    "grad_clip_type",
    "accum_grad",
    "use_amp",
    "train_dtype",
    "batch_type",
    "batch_size",
    "batch_bins",
    "encoder_cost",
    "max_llm_length",
    "num_iters_per_epoch",
    "best_model_criterion",
    "keep_nbest_models",
)


@dataclass
class TrainingData:
    """Examples by (task, language, target language), and hours of speech.

    Attributes:
        counts: (task, language, target) -> examples. hours: the same -> hours of speech.
        normalizer: of the training text; None where the data do not say.
        corpora: contents of the `corpus.json` files.
    """

    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    hours: dict[tuple[str, str, str], float] = field(default_factory=dict)
    normalizer: str | None = None
    corpora: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        return sorted({task for task, _, _ in self.counts})

    @property
    def languages(self) -> list[str]:
        return sorted({code for _, *codes in self.counts for code in codes})


def training_keys(values: dict[str, Any]) -> dict[str, Any]:
    """The `TRAINING_KEYS` of a run's configuration."""
    return {key: values[key] for key in TRAINING_KEYS if values.get(key) is not None}


def stages_of(values: dict[str, Any], recipe: Path) -> list[dict[str, Any]]:
    """The training keys of each stage that led to a run, the first stage first.

    A stage before is found through ``part_init``; where its files are gone, the chain begins later.

    Args:
        values: the run's configuration. recipe: where its relative paths start.
    """
    found = [training_keys(values)]
    for _ in range(20):  # a chain that goes round ends too
        init = values.get("part_init")
        if not init:
            break
        before = recipe / Path(init).parent / "config.yaml"
        if not before.is_file():
            logging.warning("%s: is gone: the stages before are not described", before)
            break
        values = load_yaml(before)
        found.insert(0, training_keys(values))
    return found


def read_training_data(
    values: dict[str, Any], recipe: Path, corpora: list[Path] | None = None
) -> TrainingData:
    """Count the run's training examples.

    Args:
        values: the run's configuration. recipe: where its relative paths start.
        corpora: `corpus.json` files; by default those in the training directories.

    Raises:
        DataError: a `corpus.json` that is given is missing or wrong.
    """
    given = values.get("train_data_dir") or []
    directories = [recipe / name for name in ([given] if isinstance(given, str) else given)]
    data = TrainingData()
    normalizers = set()
    for directory in directories:
        if not (directory / "text").is_file():
            logging.warning("%s: is gone: the model card will not count its data", directory)
            continue
        _count(directory, data)
        if (directory / "text_normalizer").is_file():
            normalizers.add((directory / "text_normalizer").read_text(encoding="utf-8").strip())
    data.normalizer = ", ".join(sorted(normalizers)) or None
    if corpora is None:
        corpora = [d / "corpus.json" for d in directories if (d / "corpus.json").is_file()]
    for path in corpora:
        data.corpora += read_corpus_file(path)
    return data


def _count(directory: Path, data: TrainingData) -> None:
    """Add a data directory's examples; its tables are sorted by id, as the recipe writes them."""
    langs = _Table(directory / "utt2lang")
    tgts = _Table(directory / "utt2tgt")
    samples = _Table(directory / "utt2num_samples")
    for utterance, task in _Table(directory / "utt2task"):
        lang = langs.find(utterance) or "unknown"
        key = (task, lang, tgts.find(utterance) or lang)
        data.counts[key] = data.counts.get(key, 0) + 1
        length = samples.find(utterance) or ""
        if length.isdecimal():
            data.hours[key] = data.hours.get(key, 0.0) + int(length) / SAMPLE_RATE / 3600


class _Table:
    """A table of one line an utterance, read forwards."""

    def __init__(self, path: Path):
        self.lines = self._read(path)
        self.current: tuple[str, str] | None = ("", "")

    @staticmethod
    def _read(path: Path) -> Iterator[tuple[str, str]]:
        if path.is_file():
            for _, utterance, value in iter_table(path, lambda *bad: None):
                yield utterance, value

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.lines

    def find(self, utterance: str) -> str | None:
        while self.current is not None and self.current[0] < utterance:
            self.current = next(self.lines, None)
        return (
            self.current[1] if self.current is not None and self.current[0] == utterance else None
        )
