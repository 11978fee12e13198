"""The account of a data preparation: what was read, kept and dropped, and why.

Nothing is lost silently: every dropped item is a line of ``dropped.tsv`` in the data directory, and
the totals stand beside the official counts in ``corpus.md`` and ``corpus.json`` and on the screen.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from espnet_part.display import plain
from espnet_part.tasks import ASR

#: (split, language or direction such as "fr-en", task) -> number of items that the corpus says it has
Official = Mapping[tuple[str, str, str], int]

DROPPED_HEADER = ("split", "lang", "task", "item", "reason", "detail")


@dataclass
class Counts:
    """Items of one (split, language, task); ``read`` is the sum of ``kept`` and ``dropped``."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cleaned: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Counts by (split, language or direction, task), in memory that does not grow.

    A split is open while its `DirectoryWriter` is: only then can something be dropped from it.

    Args:
        corpus: the corpus' name, "Common Voice".
        release: "cv-corpus-15.0-2023-09-08".
        license: "CC0-1.0".
        official: counts to stand beside what was read.
    """

    def __init__(
        self, corpus: str, release: str = "", license: str = "", official: Official | None = None
    ) -> None:
        self.corpus = corpus
        self.release = release
        self.license = license
        self.official: Official = official or {}
        self.counts: dict[tuple[str, str, str], Counts] = defaultdict(Counts)
        self.notes: list[str] = []
        self._open: dict[str, IO[str]] = {}
        self._first: dict[tuple[str, str], str] = {}  # of a split and a reason

    def read(self, split: str, language: str, task: str, count: int = 1) -> None:
        """Count items as read; each is then added to a writer, or dropped."""
        self.counts[split, language, task].read += count

    def keep(self, split: str, language: str, task: str, count: int = 1) -> None:
        """Count items as kept; the `DirectoryWriter` does that for what it has written."""
        self.counts[split, language, task].kept += count

    def drop(
        self,
        split: str,
        language: str,
        item: str,
        reason: str,
        detail: str = "",
        task: str = ASR.name,
    ) -> None:
        """Name one dropped item.

        Args:
            item: what can be found again in the corpus: a clip's path, an id, "file:line".
            reason: the same words for all items of its kind.
            task: the task that loses it; several, with commas, count in each and are one line.
        """
        for one in task.split(","):
            self.counts[split, language, one].dropped[reason] += 1
        self._first.setdefault((split, reason), f"{item}: {detail}" if detail else item)
        row = [split, language, task, item, reason, detail]
        self._open[split].write("\t".join([_one_line(value) for value in row]) + "\n")

    def clean(self, split: str, language: str, what: str, task: str = ASR.name) -> None:
        """Count an item that is kept, but changed (``what`` says how)."""
        self.counts[split, language, task].cleaned[what] += 1

    def note(self, text: str) -> None:
        """Say something that whoever trusts the figures must know: now, and in the files."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def open_split(self, split: str, directory: Path) -> None:
        """Begin ``dropped.tsv`` in a directory; called by `DirectoryWriter`."""
        file = (directory / "dropped.tsv").open("w", encoding="utf-8", errors="replace")
        file.write("\t".join(DROPPED_HEADER) + "\n")
        self._open[split] = file

    def close_split(self, split: str, directory: Path | None) -> None:
        """End ``dropped.tsv``; write ``corpus.json`` and ``corpus.md`` (None: the split failed)."""
        if split in self._open:
            self._open.pop(split).close()
        if directory is not None:
            entries = [entry for entry in self.entries() if entry["split"] == split]
            content = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
            (directory / "corpus.json").write_text(content, encoding="utf-8")
            (directory / "corpus.md").write_text(self.summary(split) + "\n", encoding="utf-8")

    def why_empty(self, split: str) -> str | None:
        """Why nothing of a split is left; None where something is."""
        counts = [own for key, own in self.counts.items() if key[0] == split]
        if any(own.kept for own in counts):
            return None
        dropped = sum((own.dropped for own in counts), Counter[str]())
        reasons = ", ".join(f"{count} x {reason}" for reason, count in dropped.most_common())
        for reason, _ in dropped.most_common(1):
            reasons += f"; the first: {plain(self._first[split, reason], 200)}"
        read = sum(own.read for own in counts)
        return f"none of {read} rows is usable: {reasons or 'there is none'}"

    def entries(self) -> list[dict[str, Any]]:
        """One mapping a split: the content of ``corpus.json``."""
        splits: dict[str, dict[str, Any]] = {}
        for (split, language, task), counts in self.counts.items():
            languages = splits.setdefault(split, {})
            languages.setdefault(language, {})[task] = {
                "official": self.official.get((split, language, task)),
                "read": counts.read,
                "kept": counts.kept,
                "dropped": dict(counts.dropped.most_common()),
                "cleaned": dict(counts.cleaned.most_common()),
            }
        return [
            {
                "corpus": self.corpus,
                "release": self.release,
                "split": split,
                "languages": languages,
                "license": self.license,
                "notes": self.notes,
            }
            for split, languages in splits.items()
        ]

    def summary(self, split: str | None = None) -> str:
        """A Markdown table of all splits, or of one, with the notes below it."""
        rows = [("split", "language", "task", "official", "read", "kept", "dropped")]
        for key, counts in self.counts.items():
            if split in (None, key[0]):
                official = self.official.get(key)
                said = "-" if official is None else str(official)
                rows.append((*key, said, str(counts.read), str(counts.kept), _reasons(counts)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            f"{self.corpus} {self.release}".strip()
            + (f" ({self.license})" if self.license else ""),
            "",
        ]
        for number, row in enumerate(rows):
            cells = [
                cell.rjust(width) if 3 <= i <= 5 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("| " + " | ".join(cells) + " |")
            if number == 0:
                rules = [
                    "-" * (w + 1) + (":" if 3 <= i <= 5 else "-") for i, w in enumerate(widths)
                ]
                lines.append("|" + "|".join(rules) + "|")
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)


def _reasons(counts: Counts) -> str:
    """`12 (missing clip 10, empty sentence 2); cleaned: odd spaces 3`."""
    said = str(counts.dropped.total())
    if counts.dropped:
        said += f" ({', '.join(f'{what} {n}' for what, n in counts.dropped.most_common())})"
    if counts.cleaned:
        said += f"; cleaned: {', '.join(f'{what} {n}' for what, n in counts.cleaned.most_common())}"
    return said


def _one_line(value: str) -> str:
    return " ".join(value.split())
