"""Markdown tables of scores, in the style of ESPnet's RESULTS.md.

The functions take (label, dictionary) pairs, the dictionary being `Scores.as_dict()` or the
content of a score.json, so that one table can show several systems or test sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Labelled = Sequence[tuple[str, dict[str, Any]]]


def error_table(scores: Labelled, metric: str, task: str = "asr") -> str:
    """Table of word ("wer") or character ("cer") errors with ESPnet's columns, in percent.

    A last line of each label pools the languages, when there are several. Empty when no language
    is counted in that unit.
    """
    unit = "Wrd" if metric == "wer" else "Chr"
    rows = []
    for label, score in scores:
        groups = [g for g in score["errors"] if (g["task"], g["metric"]) == (task, metric)]
        rows += [_error_row(label, _language(group), group) for group in groups]
        if sum(not group["secondary"] for group in groups) > 1:
            pooled = [
                g for g in score["pooled_errors"] if (g["task"], g["metric"]) == (task, metric)
            ]
            rows += [_error_row(label, "pooled", group) for group in pooled]
    header = ["dataset", "lang", "Snt", unit, "Corr", "Sub", "Del", "Ins", "Err", "S.Err"]
    return markdown(header, rows) if rows else ""


def translation_table(scores: Labelled, task: str = "s2tt") -> str:
    """Table of BLEU and chrF by direction, with macro averages; empty without such a task."""
    rows = []
    for label, score in scores:
        groups = [g for g in score["translations"] if g["task"] == task]
        for group in groups:
            rows.append(
                [
                    label,
                    group["direction"],
                    str(group["sentences"]),
                    f"{group['bleu']:.1f}",
                    f"{group['chrf']:.1f}",
                    f"{group['brevity_penalty']:.3f}",
                    group["tokenizer"],
                ]
            )
        if len(groups) > 1:
            averages = score["average"][task]
            for key, name in (
                ("bleu_into_en", "average into en"),
                ("bleu_out_of_en", "average out of en"),
                ("bleu", "average"),
            ):
                if key in averages:
                    rows.append([label, name, "", f"{averages[key]:.1f}", "", "", ""])
            for group in score["pooled_translations"]:
                if group["task"] == task:
                    rows.append(
                        [
                            label,
                            "pooled",
                            str(group["sentences"]),
                            f"{group['bleu']:.1f}",
                            f"{group['chrf']:.1f}",
                            f"{group['brevity_penalty']:.3f}",
                            group["tokenizer"],
                        ]
                    )
    header = ["dataset", "direction", "Snt", "BLEU", "chrF", "BP", "tokenizer"]
    return markdown(header, rows) if rows else ""


def average_line(scores: Labelled, task: str = "asr") -> str:
    """The macro average over languages of each label, as one line of text."""
    parts = [
        f"{label} {score['average'][task]['wer']:.1f} %"
        for label, score in scores
        if score["average"].get(task, {}).get("wer") is not None
    ]
    return "Average over languages: " + ", ".join(parts) + "." if parts else ""


def score_sections(scores: Labelled, level: int = 3) -> str:
    """All tables of the given scores with headings, then signatures, versions and notes."""
    heading = "#" * level
    parts = []
    tasks = sorted({task for _, score in scores for task in score["tasks"]})
    for task in tasks:
        for metric, name in (("wer", "WER"), ("cer", "CER")):
            table = error_table(scores, metric, task)
            if table:
                parts.append(f"{heading} {name} ({task})\n\n{table}")
        line = average_line(scores, task)
        if line:
            parts.append(line)
        table = translation_table(scores, task)
        if table:
            parts.append(f"{heading} BLEU ({task})\n\n{table}")
    facts = _facts(scores)
    if facts:
        parts.append("\n".join(f"- {fact}" for fact in facts))
    return "\n\n".join(parts) + "\n"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "|" + "|".join(cell.replace("|", "\\|") for cell in line) + "|" for line in lines
    )


def _language(group: dict[str, Any]) -> str:
    return f"{group['language']} (also)" if group["secondary"] else group["language"]


def _error_row(label: str, language: str, group: dict[str, Any]) -> list[str]:
    total = group["reference"]

    def percent(count: int) -> str:
        return f"{100.0 * count / total:.1f}" if total else "-"

    return [
        label,
        language,
        str(group["sentences"]),
        str(total),
        percent(group["correct"]),
        percent(group["substitutions"]),
        percent(group["deletions"]),
        percent(group["insertions"]),
        percent(group["substitutions"] + group["deletions"] + group["insertions"]),
        f"{group['sentence_rate']:.1f}",
    ]


def _facts(scores: Labelled) -> list[str]:
    facts = []
    for label, score in scores:
        facts += [f"**{label}: {note}**" for note in score["notes"]]
    normalizers = {
        (group["normalizer"], group["language"]) for _, score in scores for group in score["errors"]
    }
    for name in sorted({name for name, _ in normalizers}):
        languages = ", ".join(sorted(language for n, language in normalizers if n == name))
        facts.append(f"normaliser {name}: {languages}")
    if any(group["metric"] == "cer" for _, score in scores for group in score["errors"]):
        facts.append("CER is counted after normalisation, without spaces")
    groups = [group for _, score in scores for group in score["translations"]]
    for key, name in (("bleu_signature", "BLEU"), ("chrf_signature", "chrF")):
        facts += [f"{name} `{signature}`" for signature in sorted({g[key] for g in groups})]
    versions = {
        ", ".join(f"{name} {number}" for name, number in score["scorer"].items())
        for _, score in scores
    }
    facts += [f"scored by {line}" for line in sorted(versions)]
    return facts
