"""The utterances that the first system gets most wrong, with what it wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from espnet_part import display
from espnet_part.document import Heading, Paragraph
from espnet_part.report.page.parts import LEGEND, Part
from espnet_part.report.page.scored_set import ScoredSet, texts_of
from espnet_part.score.bleu import figures_of
from espnet_part.score.counting import Measured, measure
from espnet_part.score.references import GroupKey
from espnet_part.tasks import TASKS, by_rank

MOST = 10
"""Utterances of a task."""


@dataclass(frozen=True)
class _Wrong:
    """An utterance; the one with the smallest ``rank`` is the worst."""

    rank: tuple[float, ...]
    test_set: ScoredSet
    key: GroupKey
    name: str


def worst_parts(sets: Sequence[ScoredSet], system: str, most: int = MOST) -> list[Part]:
    """By task: those with most errors as they are scored, or with the lowest chrF."""
    wrong: dict[str, list[_Wrong]] = {}
    for test_set in sets:
        measured = measure(test_set.references, test_set.hypotheses[system], test_set.config)
        for key, group in measured.items():
            found = wrong.setdefault(key[0], [])
            found += _wrong(test_set, key, group)
            found.sort(key=lambda one: (*one.rank, one.name))
            del found[most:]
    parts: list[Part] = [Paragraph(f"Of {display.markdown(system)}, the first system. {LEGEND}")]
    said = texts_of((one.test_set, one.name) for ones in wrong.values() for one in ones)
    for task in sorted(wrong, key=by_rank):
        how = "most errors first" if TASKS[task].scored_by == "error_rate" else "lowest chrF first"
        parts.append(Heading(3, f"{display.markdown(TASKS[task].title.capitalize())}: {how}"))
        for one in wrong[task]:
            text = said.get((one.test_set, one.name), "")
            parts.append(one.test_set.utterance(one.key, one.name, [system], text))
        if not wrong[task]:
            parts.append(Paragraph("Nothing is wrong."))
    return parts


def _wrong(test_set: ScoredSet, key: GroupKey, group: Measured) -> Iterator[_Wrong]:
    if group.translations is not None:
        chrf = figures_of(group.translations, group.tokenizer)[:, 1]
        for name, score in zip(group.utterances, chrf, strict=True):
            if score < 100.0 - 1e-9:
                yield _Wrong((float(score),), test_set, key, name)
        return
    counts = next(iter(group.errors.values()))
    errors, reference = counts[:, 2:5].sum(axis=1), np.maximum(counts[:, 0], 1)
    for name, number, length in zip(group.utterances, errors, reference, strict=True):
        if number:  # of as many errors, those in the shortest
            yield _Wrong((-float(number), float(length)), test_set, key, name)
