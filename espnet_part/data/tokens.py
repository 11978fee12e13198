"""Token counts of prompts and answers: the ``text_tokens`` file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from espnet_part.data.chat import ChatFormat
from espnet_part.data.datadir import Example
from espnet_part.data.prompts import Prompts
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.kaldi import parse_count, read_table
from espnet_part.sorting import LineSorter

_CHECKED = 10  # known counts that are counted again, to notice a file of another tokenizer


def count_tokens(
    examples: Sequence[Example],
    prompts: Prompts,
    chat: ChatFormat,
    known: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Count the tokens of each example.

    Args:
        examples: the examples.
        prompts, chat: how they are put to the LLM.
        known: utterance -> counts found earlier; only the others are tokenised.

    Returns:
        (N,) int64 tokens of the longest wording of the prompt, speech not counted, and (N,) int64
        tokens of the answer with its end token.

    Raises:
        DataError: ``known`` does not fit these prompts and this tokenizer.
    """
    known = known or {}
    counts = np.zeros((2, len(examples)), dtype=np.int64)
    new = []
    checked = 0
    for position, example in enumerate(examples):
        found = known.get(example.utt_id)
        if found is None:
            new.append(position)
            continue
        counts[:, position] = found
        if checked < _CHECKED:
            checked += 1
            check_counts(example, found, prompts, chat)
    if new:
        counts[1, new] = chat.count_answers([examples[position].text for position in new])
        counts[0, new] = [_longest_prompt(examples[n], prompts, chat) for n in new]
    return counts[0], counts[1]


def check_few(
    examples: Sequence[Example],
    counts: tuple[np.ndarray, np.ndarray],
    prompts: Prompts,
    chat: ChatFormat,
) -> tuple[np.ndarray, np.ndarray]:
    """Return known counts of all examples, having counted the first few again.

    Raises:
        DataError: they do not fit these prompts and this tokenizer.
    """
    for position in range(min(_CHECKED, len(examples))):
        found = int(counts[0][position]), int(counts[1][position])
        check_counts(examples[position], found, prompts, chat)
    return counts


def check_counts(
    example: Example, found: tuple[int, int], prompts: Prompts, chat: ChatFormat
) -> None:
    """Count the tokens of an example again.

    Raises:
        DataError: ``found`` is something else.
    """
    real = _longest_prompt(example, prompts, chat), chat.count_answers([example.text])[0]
    if real != tuple(found):
        raise DataError(
            f"the token counts {found} of {example.utt_id} should be {real}: they were"
            " made with other prompts or another tokenizer; run part_collect_stats again"
        )


def _longest_prompt(example: Example, prompts: Prompts, chat: ChatFormat) -> int:
    lengths = []
    for wording in range(prompts.count(example.task)):
        tokens = chat.encode(prompts.render(example, wording))
        lengths.append(len(tokens.prefix_ids) + len(tokens.suffix_ids))
    return max(lengths)


@contextmanager
def writing_token_counts(
    path: str | Path,
) -> Iterator[Callable[[Sequence[Example], np.ndarray, np.ndarray], None]]:
    """A function ``add(examples, prompt, answer)``; when the block ends, the file is there.

    Its lines are utterance, prompt tokens, answer tokens, sorted by utterance. No two examples may
    have one id.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as directory:
        lines = LineSorter(Path(directory, "run"))

        def add(examples: Sequence[Example], prompt: np.ndarray, answer: np.ndarray) -> None:
            counts = zip(examples, prompt.tolist(), answer.tolist(), strict=True)
            for example, prompt_tokens, answer_tokens in counts:
                lines.add(f"{example.utt_id}\t{prompt_tokens} {answer_tokens}\n".encode())

        yield add
        with atomic_write(path, "wb") as file:
            file.writelines(line.replace(b"\t", b" ", 1) for line in lines.merged())


def read_token_counts(path: str | Path) -> dict[str, tuple[int, int]]:
    """Read what `writing_token_counts` wrote.

    Raises:
        DataError: the file is missing, or a line is not of that form.
    """
    counts = {}
    for utt, value in read_table(path).items():
        numbers = [parse_count(part) for part in value.split(" ")]
        if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
            raise DataError(f"{path}: {utt}: not of the form `utterance prompt answer`")
        counts[utt] = (numbers[0], numbers[1])
    return counts
