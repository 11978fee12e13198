"""What a data set holds: utterances, hours and tokens by task, language and target language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from espnet_part.data.datadir import Example
from espnet_part.sample_rate import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class StratumStatistics:
    """One line of the mixture table.

    Attributes:
        task, lang, tgt: the stratum; "" stands for all.
        utterances: number of examples.
        hours: of speech; 0 for text.
        prompt_tokens: of the longest wordings, speech not counted.
        answer_tokens: what carries the loss: targets and end tokens.
    """

    task: str
    lang: str
    tgt: str
    utterances: int
    hours: float
    prompt_tokens: int
    answer_tokens: int


class Statistics:
    """Counts examples as they come.

    Args:
        fs: the rate that ``num_samples`` counts at, in Hz.
    """

    def __init__(self, fs: int = SAMPLE_RATE) -> None:
        self._fs = fs
        # of each (task, language, target language): examples, samples, tokens of prompts and answers
        self._sums: dict[tuple[str, str, str], list[int]] = {("", "", ""): [0, 0, 0, 0]}

    def add(self, examples: Sequence[Example], prompt: np.ndarray, answer: np.ndarray) -> None:
        """Add examples.

        Args:
            prompt, answer: (N,) token counts (see `tokens.count_tokens`).
        """
        for e, *tokens in zip(examples, prompt.tolist(), answer.tolist(), strict=True):
            sums = self._sums.setdefault((e.task, e.lang, e.tgt), [0, 0, 0, 0])
            for place, value in enumerate((1, e.num_samples or 0, *tokens)):
                sums[place] += value

    def lines(self) -> list[StratumStatistics]:
        """One entry for each (task, language, target language), then one a task, then one for all."""
        sums: dict[tuple[str, str, str], list[int]] = {}
        for (task, lang, tgt), found in self._sums.items():
            for key in {(task, lang, tgt), (task, "", ""), ("", "", "")}:
                before = sums.get(key, [0, 0, 0, 0])
                sums[key] = [one + other for one, other in zip(before, found, strict=True)]
        return [
            StratumStatistics(
                *key,
                utterances=utterances,
                hours=round(samples / self._fs / 3600, 4),
                prompt_tokens=prompt,
                answer_tokens=answer,
            )
            for key, (utterances, samples, prompt, answer) in sorted(
                sums.items(), key=lambda item: _total_last(item[0])
            )
        ]


def as_markdown(statistics: Sequence[StratumStatistics]) -> str:
    """The mixture table."""
    lines = [
        "| task | language | into | utterances | hours | prompt tokens | answer tokens |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for s in statistics:
        names = (s.task or "**all**", s.lang or "**all**", s.tgt or "**all**")
        lines.append(
            f"| {' | '.join(names)} | {s.utterances:,} | {s.hours:,.2f} |"
            f" {s.prompt_tokens:,} | {s.answer_tokens:,} |"
        )
    return "\n".join(lines) + "\n"


def as_json(statistics: Sequence[StratumStatistics]) -> list[dict[str, Any]]:
    """The mixture table's lines as mappings."""
    return [asdict(s) for s in statistics]


def _total_last(key: tuple[str, str, str]) -> tuple[bool, str, bool, str, str]:
    task, lang, tgt = key
    return (not task, task, not lang, lang, tgt)
