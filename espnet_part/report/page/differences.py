"""What an output has that its reference has not, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from espnet_part.report.page.parts import Mark
from espnet_part.score.error_rate import Unit
from espnet_part.score.normalizers import drop_spaces


def mark_differences(
    reference: str, hypothesis: str, unit: Unit = "word"
) -> list[tuple[Mark, str]]:
    """Align the two by words, or by characters without spaces, as errors are counted.

    Returns:
        (kind, words): what both have, what is "missing" in the hypothesis, what is "added" in it.
    """
    one, two = _units(reference, unit), _units(hypothesis, unit)
    marked: list[tuple[Mark, str]] = []
    if not one or not two:  # jiwer takes no empty reference
        marked += [("missing", text) for text in one]
        marked += [("added", text) for text in two]
        return list(_joined(marked, unit))
    import jiwer

    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    join = " " if unit == "word" else ""
    (chunks,) = process(join.join(one), join.join(two)).alignments
    for chunk in chunks:
        lost = one[chunk.ref_start_idx : chunk.ref_end_idx]
        found = two[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            marked += [("same", word) for word in found]
        else:
            marked += [("missing", word) for word in lost if chunk.type != "insert"]
            marked += [("added", word) for word in found if chunk.type != "delete"]
    return list(_joined(marked, unit))


def _units(text: str, unit: Unit) -> Sequence[str]:
    return text.split() if unit == "word" else drop_spaces(text)


def _joined(marked: Iterable[tuple[Mark, str]], unit: Unit) -> Iterable[tuple[Mark, str]]:
    join = " " if unit == "word" else ""
    for kind, members in groupby(marked, lambda item: item[0]):
        yield kind, join.join(text for _, text in members)
