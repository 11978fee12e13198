"""What is wrong in a data directory: counted, shown, and too much of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from espnet_part.errors import DataError

PlacedFault = tuple[int, int, "Fault"]
"""(place in the order of what is told, number of the line, the fault)"""

_PLACE = itemgetter(0, 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a data directory.

    Attributes:
        kind: what is wrong, the same words for every fault of its kind.
        where: file and line, or file.
        utt_id: the utterance that is left out because of it; None where no line is to blame.
        detail: what was found.
    """

    kind: str
    where: str
    utt_id: str | None = None
    detail: str = ""

    def __str__(self) -> str:
        who = f" {self.utt_id}:" if self.utt_id else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.where}:{who} {self.kind}{detail}"


def in_order(found: Iterable[PlacedFault]) -> list[Fault]:
    """Faults in the order of the tables and of their lines."""
    return [fault for *_, fault in sorted(found, key=_PLACE)]


def report_faults(faults: Sequence[Fault], shown: int = 3) -> str:
    """Count faults by kind, each with its first few cases; one line a kind and a case."""
    lines = []
    for kind, count in Counter(fault.kind for fault in faults).most_common():
        lines.append(f"{count} x {kind}")
        cases = [fault for fault in faults if fault.kind == kind][:shown]
        lines += [f"    {case}" for case in cases]
        if count > shown:
            lines.append(f"    … and {count - shown} more")
    return "\n".join(lines)


def read_faults(found: Iterable[Any]) -> list[Fault]:
    """Faults of several jobs in the order of one, from JSON of what their readers `found`."""
    return in_order((place, number, Fault(**fault)) for place, number, fault in found)


def count_bad(faults: Sequence[Fault]) -> int:
    """How many utterances are left out."""
    return len({fault.utt_id for fault in faults if fault.utt_id})


def check_share(faults: Sequence[Fault], good: int, max_bad_share: float, where: str) -> None:
    """Stop when too much of a data set is bad.

    Args:
        good: number of usable examples.

    Raises:
        DataError: no usable example is left, or more than ``max_bad_share`` of all are faulty.
    """
    bad = count_bad(faults)
    total = bad + good
    if not good or bad > max_bad_share * total:
        limit = f", more than --max_bad_share {max_bad_share:g} allows" if good else ""
        raise DataError(
            f"{where}: {bad} of {total} utterances are unusable{limit}: "
            f"{_summary(faults) or 'the directory is empty'}"
        )


def _summary(faults: Sequence[Fault]) -> str:
    """Count faults by kind, each with its first case, in one line."""
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.kind, fault)
    parts = []
    for kind, count in Counter(fault.kind for fault in faults).most_common():
        case = first[kind]
        such = ", e.g." if count > 1 else ":"
        said = [case.where, case.utt_id, case.detail]
        parts.append(f"{count} x {kind}{such} {': '.join(word for word in said if word)}")
    return "; ".join(parts)
