"""Token counts, mixture table and index of data directories (stage 5 of a recipe)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_part.data import tables
from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import (
    CombinedReader,
    Example,
    ExampleReader,
    check_share,
    count_bad,
)
from espnet_part.data.index import IndexWriter
from espnet_part.data.prompts import Prompts
from espnet_part.data.splits import all_splits, made_from
from espnet_part.data.statistics import Statistics, as_json, as_markdown
from espnet_part.data.tokens import count_tokens, writing_token_counts
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.model.base import file_sha256
from espnet_part.model.config import LLMConf
from espnet_part.model.tokenizer import load_tokenizer, tokenizer_sha256

Counted = tuple[list[Example], np.ndarray, np.ndarray]
"""Examples, and the (N,) token counts of their prompts and answers."""


@dataclass(frozen=True)
class Counting:
    """The token counts of a data directory, split by split.

    Attributes:
        data_dir: the directory.
        llm_conf: of the model, for its tokenizer.
        prompts: the file of prompts.
    """

    data_dir: Path
    llm_conf: LLMConf
    prompts: str

    @property
    def made_from(self) -> str:
        settings = [tokenizer_sha256(self.llm_conf), file_sha256(Path(self.prompts))]
        return made_from(settings, self.data_dir)

    @property
    def least(self) -> int:
        return tables.RANGE

    def __call__(self, directory: Path, job: int, nj: int) -> None:
        """Do a split: ``counts.npy``, in the order of the examples."""
        parts = [np.zeros((2, 0), dtype=np.int64)]
        reader = ExampleReader(self.data_dir, job=job, nj=nj)
        if reader.unreadable is not None:
            raise DataError(str(reader.unreadable))
        for _, *counts in count(reader, self.llm_conf, self.prompts):
            parts.append(np.stack(counts))
        np.save(directory / "counts.npy", np.concatenate(parts, axis=1))


def count(
    reader: ExampleReader | CombinedReader, llm_conf: LLMConf, prompts: str
) -> Iterator[Counted]:
    """Count the tokens of examples as they are read."""
    wordings = Prompts.load(prompts)
    chat = ChatFormat(load_tokenizer(llm_conf))
    for examples in reader:
        yield examples, *count_tokens(examples, wordings, chat)


def collect(
    data_dirs: Sequence[Path],
    llm_conf: LLMConf,
    prompts: str,
    out_dir: Path,
    max_bad_share: float,
    nj: int = 1,
) -> str:
    """Write ``text_tokens``, ``mixture.md``, ``mixture.json`` and ``index``; return the mixture table.

    Memory holds some 30 bytes of each example. The result does not depend on ``nj``.

    Args:
        llm_conf, prompts: see `Counting`.
        max_bad_share: more unusable utterances than this share are an error.
        nj: number of processes, and of splits (see `splits`); above 1, for one directory.

    Raises:
        DataError: too many unusable utterances; nothing is written then.
    """
    statistics, good = Statistics(), 0
    index = IndexWriter(out_dir / "index", data_dirs)
    with ExitStack() as stack:
        reader: ExampleReader | CombinedReader
        if nj > 1:
            (data_dir,) = data_dirs
            work = Counting(data_dir, llm_conf, prompts)
            splits = stack.enter_context(all_splits(work, out_dir, nj))
            reader = ExampleReader(data_dir)
            counted = _with_counts(reader, splits)
        else:
            reader = CombinedReader(data_dirs)
            counted = count(reader, llm_conf, prompts)
        with writing_token_counts(out_dir / "text_tokens") as add, index:
            for examples, prompt, answer in counted:
                good += len(examples)
                for take in (add, index.add, statistics.add):
                    take(examples, prompt, answer)
            check_share(reader.faults, good, max_bad_share, " ".join(map(str, data_dirs)))
            index.bad = count_bad(reader.faults)
    table = as_markdown(statistics.lines())
    with atomic_write(out_dir / "mixture.json") as file:
        json.dump(as_json(statistics.lines()), file, indent=1)
        file.write("\n")
    with atomic_write(out_dir / "mixture.md") as file:
        file.write(table)
    return table


def _with_counts(reader: ExampleReader, splits: Sequence[Path]) -> Iterator[Counted]:
    """Examples with the counts of all splits.

    Raises:
        DataError: there are other examples now than those that were counted.
    """
    found = [np.load(split / "counts.npy", allow_pickle=False) for split in splits]
    prompt, answer = np.concatenate(found, axis=1)
    start = 0
    for examples in reader:
        here = slice(start, start + len(examples))
        start = here.stop
        if start > len(prompt):
            break
        yield examples, prompt[here], answer[here]
    if start != len(prompt):
        raise DataError(
            f"{reader.path}: its tables have changed while their tokens were counted; count them "
            "again (part_collect_stats)"
        )
