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


def collect_statistics(
    examples: Sequence[Example], prompt: np.ndarray, answer: np.ndarray, fs: int = SAMPLE_RATE
) -> list[StratumStatistics]:
    """One entry for each (task, language, target language), then one a task, then one for all.

    Args:
        examples: the examples.
        prompt, answer: (N,) token counts (see `tokens.count_tokens`).
        fs: the rate that ``num_samples`` counts at, in Hz.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for position, example in enumerate(examples):
        groups.setdefault((example.task, example.lang, example.tgt), []).append(position)
        groups.setdefault((example.task, "", ""), []).append(position)
    groups["", "", ""] = list(range(len(examples)))
    samples = np.array([e.num_samples or 0 for e in examples], dtype=np.int64)
    return [
        StratumStatistics(
            *key,
            utterances=len(members),
            hours=round(float(samples[members].sum()) / fs / 3600, 4),
            prompt_tokens=int(prompt[members].sum()),
            answer_tokens=int(answer[members].sum()),
        )
        for key, members in sorted(groups.items(), key=lambda item: _total_last(item[0]))
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
