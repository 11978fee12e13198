"""Tables of scores, in the style of ESPnet's RESULTS.md.

The functions take (label, dictionary) pairs, the dictionary being `Scores.as_dict()` or the
content of a score.json, so that one table can show several systems or test sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_part import display
from espnet_part.document import Block, Bullets, Heading, Paragraph, Table, to_markdown
from espnet_part.score.footnotes import describe_scores
from espnet_part.tasks import ASR, S2TT, by_rank

Labelled = Sequence[tuple[str, dict[str, Any]]]


def error_table(scores: Labelled, metric: str, task: str = ASR.name) -> Table:
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
    return Table([*header, f"Err {_level(scores)}", "missing"], rows)


def translation_table(scores: Labelled, task: str = S2TT.name) -> Table:
    """Table of BLEU and chrF++ by direction, with macro averages; empty without such a task."""
    rows = []
    for label, score in scores:
        groups = [g for g in score["translations"] if g["task"] == task]
        rows += [_translation_row(label, group["direction"], group) for group in groups]
        if len(groups) > 1:
            for key, name in (
                ("bleu_into_en", "average into en"),
                ("bleu_out_of_en", "average out of en"),
                ("bleu", "average"),
            ):
                if key in score["average"][task]:
                    rows.append(_average_row(label, name, key, task, score))
            pooled = [g for g in score["pooled_translations"] if g["task"] == task]
            rows += [_translation_row(label, "pooled", group) for group in pooled]
    level = _level(scores)
    header = ["dataset", "direction", "Snt", "BLEU", f"BLEU {level}", "chrF", "chrF++"]
    header += [f"chrF++ {level}", "BP", "tokenizer", "missing"]
    return Table(header, rows)


def hallucination_table(scores: Labelled, task: str) -> Table:
    """Utterances with signs of hallucination, by language or direction; empty without any."""
    rows = []
    for label, score in scores:
        for group in score.get("hallucinations", {}).get("groups", []):
            if group["task"] == task and group["flagged"]:
                signs = ("repeated", "longer_than_speech", "longer_than_reference")
                counts = ["-" if group[sign] is None else str(group[sign]) for sign in signs]
                share = f"{group['flagged']} ({100 * group['flagged'] / group['utterances']:.1f} %)"
                rows.append([label, group["key"], str(group["utterances"]), share, *counts])
    header = ["dataset", "lang", "Snt", "suspicious", "repeated n-gram", "longer than the speech"]
    return Table([*header, "longer than the reference"], rows)


def comet_table(scores: Labelled, task: str) -> Table:
    """COMET (times 100) by direction and on average; empty where it was not asked for."""
    rows = []
    for label, score in scores:
        comet = score.get("comet", {"groups": []})
        groups = [group for group in comet["groups"] if group["task"] == task]
        if len(groups) > 1:
            groups.append({**comet["average"][task], "direction": "average", "sentences": ""})
        for group in groups:
            interval = show_interval(group["interval"])
            figures = [str(group["sentences"]), f"{group['comet']:.1f}", interval]
            model = [Path(comet["model"]).name, comet["version"]]
            rows.append([label, group["direction"], *figures, *model])
    header = ["dataset", "direction", "Snt", "COMET", f"COMET {_level(scores)}", "model"]
    return Table([*header, "unbabel-comet"], rows)


def average_line(scores: Labelled, task: str = ASR.name) -> str:
    """The macro average over languages of each label, as one line of text."""
    parts = [
        f"{display.markdown(label)} {score['average'][task]['wer']:.1f} %"
        + _in_brackets(score.get("average_intervals", {}).get(task, {}).get("wer"))
        for label, score in scores
        if score["average"].get(task, {}).get("wer") is not None
    ]
    return "Average over languages: " + ", ".join(parts) + "." if parts else ""


def score_blocks(scores: Labelled, level: int = 3) -> list[Block]:
    """All tables of the given scores with headings, then what they rest on."""
    blocks: list[Block] = []

    def add(title: str, table: Table) -> None:
        if table:
            blocks.extend((Heading(level, title), table))

    tasks = sorted({task for _, score in scores for task in score["tasks"]}, key=by_rank)
    for task in tasks:
        add(f"WER ({task})", error_table(scores, "wer", task))
        add(f"CER ({task})", error_table(scores, "cer", task))
        line = average_line(scores, task)
        if line:
            blocks.append(Paragraph(line))
        add(f"BLEU and chrF++ ({task})", translation_table(scores, task))
        add(f"COMET ({task})", comet_table(scores, task))
        add(f"Signs of hallucination ({task})", hallucination_table(scores, task))
    facts = describe_scores(scores)
    if facts:
        blocks.append(Bullets(facts))
    return blocks


def score_sections(scores: Labelled, level: int = 3) -> str:
    """`score_blocks` as Markdown."""
    return to_markdown(score_blocks(scores, level)) + "\n"


def show_interval(interval: dict[str, float] | None, digits: int = 1) -> str:
    """An interval as "12.3–14.5"; a dash where there is none."""
    if interval is None:
        return "-"
    return f"{interval['low']:.{digits}f}–{interval['high']:.{digits}f}"


def _in_brackets(interval: dict[str, float] | None) -> str:
    return "" if interval is None else f" ({show_interval(interval)})"


def _level(scores: Labelled) -> str:
    levels = {score.get("bootstrap", {}).get("level", 0.95) for _, score in scores}
    return f"{100 * max(levels, default=0.95):g} %"


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
        show_interval(group.get("interval")),
        str(group.get("missing", "")),
    ]


def _translation_row(label: str, direction: str, group: dict[str, Any]) -> list[str]:
    return [
        label,
        direction,
        str(group["sentences"]),
        f"{group['bleu']:.1f}",
        show_interval(group.get("interval")),
        f"{group['chrf']:.1f}",
        f"{group['chrf++']:.1f}" if "chrf++" in group else "-",
        show_interval(group.get("chrf++_interval")),
        f"{group['brevity_penalty']:.3f}",
        group["tokenizer"],
        str(group.get("missing", "")),
    ]


def _average_row(label: str, name: str, key: str, task: str, score: dict[str, Any]) -> list[str]:
    averages = score["average"][task]
    intervals = score.get("average_intervals", {}).get(task, {})
    others = ["", "", ""]
    if key == "bleu" and "chrf++" in averages:
        others = [f"{averages['chrf']:.1f}", f"{averages['chrf++']:.1f}"]
        others.append(show_interval(intervals.get("chrf++")))
    bleu = [f"{averages[key]:.1f}", show_interval(intervals.get(key))]
    return [label, name, "", *bleu, *others, "", "", ""]
