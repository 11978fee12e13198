"""What the figures of a report stand on: corpora, normalisers, checkpoints, decoding, losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from espnet_part import display
from espnet_part.display import Markup
from espnet_part.document import Paragraph, Table
from espnet_part.report.systems import System, training_normalizer
from espnet_part.score.origin import describe_corpus

_HASH_SHOWN = 12


def test_set_table(systems: Sequence[System]) -> Table:
    """A row a test set with its corpora's release and split; no row where none is known."""
    rows = []
    for name in dict.fromkeys(name for system in systems for name in system.sets):
        scores = [system.sets[name] for system in systems if name in system.sets]
        corpora: list[dict[str, Any]] = next(
            (score["corpus"] for score in scores if score.get("corpus")), []
        )
        sizes = {task: 0 for score in scores for task in score["tasks"]}
        for score in scores:
            for task in score["tasks"]:
                sizes[task] = max(sizes[task], _sentences(score, task))
        counted = ", ".join(f"{task} {size}" for task, size in sizes.items())
        rows.append([name, describe_corpus(corpora) or "-", counted])
    known = any(row[1] != "-" for row in rows)
    return Table(["test set", "corpus (release) split", "utterances"], rows if known else [])


def _sentences(score: Mapping[str, Any], task: str) -> int:
    groups = [g for g in (*score["errors"], *score["translations"]) if g["task"] == task]
    return sum(group["sentences"] for group in groups if not group.get("secondary"))


def setting_warnings(systems: Sequence[System]) -> list[Paragraph]:
    """A line a test set whose systems were not scored alike; their figures do not compare."""
    lines: list[Paragraph] = []
    for name in dict.fromkeys(name for system in systems for name in system.sets):
        scores = {system.name: system.sets[name] for system in systems if name in system.sets}
        ways: dict[str, list[str]] = {}
        for system, score in scores.items():
            ways.setdefault(scoring_normalizer(score), []).append(system)
        if len(ways) > 1:
            told = "; ".join(f"{way} for {', '.join(names)}" for way, names in ways.items())
            told, name = display.markdown(told), display.markdown(name)
            line = f"**The systems on {name} were scored with different normalisers: {told}.**"
            lines.append(Paragraph(line))
        units: dict[str, set[str]] = {}
        for score in scores.values():
            for group in score["errors"]:
                if not group["secondary"]:
                    units.setdefault(group["language"], set()).add(group["metric"])
        mixed = [language for language, metrics in units.items() if len(metrics) > 1]
        if mixed:
            line = f"**On {display.markdown(name)} some systems have WER and others CER for "
            lines.append(Paragraph(f"{line}{display.markdown(', '.join(mixed))}.**"))
    return lines


def system_table(systems: Sequence[System]) -> Table:
    """A row a system and test set: what was done to text, which weights, what is lacking."""
    rows = []
    for system in systems:
        training = training_normalizer(system.directory)
        for name, score in system.sets.items():
            rows.append(
                [
                    system.name,
                    name,
                    training,
                    scoring_normalizer(score),
                    checkpoint(score),
                    str(score["utterances"]),
                    str(len(score["missing"])),
                    str(len(score.get("failed", {}))),
                    hallucinations(score),
                ]
            )
    header = ["system", "test set", "text normaliser: training", "scoring", "checkpoint"]
    header += ["utterances", "missing", "failed", "hallucinations"]
    return Table(header, rows)


def decoding_lines(systems: Sequence[System]) -> list[str]:
    """The options of the search, once for all systems that share them."""
    shared: dict[str, list[str]] = {}
    for system in systems:
        for score in system.sets.values():
            options = score.get("decode_options") or {}
            line = ", ".join(
                f"{key} {value}" for key, value in options.items() if value is not None
            )
            names = shared.setdefault(line, [])
            if system.name not in names:
                names.append(system.name)
    return [
        f"decoding of {display.markdown(', '.join(names))}: {display.markdown(line)}"
        for line, names in shared.items()
        if line
    ]


def scoring_normalizer(score: Mapping[str, Any]) -> str:
    """As the score.json names it; one of an earlier release names it by language only."""
    names = sorted({group["normalizer"] for group in score["errors"]})
    name = str(score.get("normalizer") or ", ".join(names) or "-")
    script = score.get("chinese_script", "keep")
    return name if script == "keep" else f"{name}, Chinese {script}"


def checkpoint(score: Mapping[str, Any]) -> str:
    """The weights' file and the beginning of their hash, as far as the score.json tells them."""
    said = score.get("checkpoint") or {}
    parts = [display.markdown(said["file"])] if said.get("file") else []
    parts += [display.code(said["model"][:_HASH_SHOWN])] if said.get("model") else []
    return Markup(" ".join(parts) or "-")


def hallucinations(score: Mapping[str, Any]) -> str:
    """Utterances with any sign of one; "-" where they were not looked for."""
    found = score.get("hallucinations")
    if not found:
        return "-"
    return str(sum(group["flagged"] for group in found["groups"]))
