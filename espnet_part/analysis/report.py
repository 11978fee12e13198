"""RESULTS.md, results.json and charts of a recipe, from what its stages left on disk."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from espnet_part.analysis.history import Interval, read_history, read_stage_times
from espnet_part.errors import DataError
from espnet_part.files import atomic_write
from espnet_part.score.table import markdown, score_sections

PACKAGES = ("espnet", "espnet_part", "torch", "transformers", "peft")


@dataclass(frozen=True)
class System:
    """A system's scores on one or several test sets.

    Attributes:
        sets: content of each score.json by test set; the first set's languages keep plain keys.
        decoding: seconds of decoding and of audio, and their ratio; empty where unknown.
    """

    name: str
    directory: Path
    sets: dict[str, dict[str, Any]]
    decoding: dict[str, float] = field(default_factory=dict)

    def values(self, key: str) -> dict[str, float | None]:
        """One measure ("wer", "cer", "bleu", "chrf") by language or direction over all sets.

        A language that two sets share appears as "de", and as "de (second set)".
        """
        merged: dict[str, float | None] = {}
        for name, scores in self.sets.items():
            for language, value in scores.get(key, {}).items():
                merged[language if language not in merged else f"{language} ({name})"] = value
        return merged

    def as_dict(self) -> dict[str, Any]:
        summary: dict[str, Any] = {key: self.values(key) for key in ("wer", "cer", "bleu", "chrf")}
        summary["average"] = {
            "wer": _mean(summary["wer"]),
            "bleu": _mean(summary["bleu"]),
            "bleu_into_en": _mean(_directions(summary["bleu"], target="en")),
            "bleu_out_of_en": _mean(_directions(summary["bleu"], source="en")),
        }
        summary["sets"] = {
            name: {
                "tasks": scores["tasks"],
                "utterances": scores["utterances"],
                "missing": len(scores["missing"]),
                "failed": len(scores.get("failed", {})),
            }
            for name, scores in self.sets.items()
        }
        summary["decoding"] = self.decoding
        summary["directory"] = str(self.directory)
        return summary


def read_system(name: str, directory: Path) -> System:
    """Read `score.json` of a decoding directory, or of each test set below it.

    Raises:
        DataError: none is there, or one cannot be read.
    """
    paths = [directory / "score.json"]
    if not paths[0].is_file():
        paths = sorted(directory.glob("*/score.json"))
    if not paths:
        raise DataError(
            f"{directory}: no score.json here nor one level below; run part_score first"
        )
    sets = {}
    seconds = {"decode_seconds": 0.0, "audio_seconds": 0.0}
    for path in paths:
        try:
            sets[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        for times in sorted(path.parent.glob("logdir/output.*/rtf.json")):
            content = json.loads(times.read_text(encoding="utf-8"))
            for key in seconds:
                seconds[key] += content[key]
    if seconds["audio_seconds"]:
        seconds["rtf"] = seconds["decode_seconds"] / seconds["audio_seconds"]
    else:
        seconds = {}
    return System(name, directory, sets, seconds)


def find_systems(expdir: Path) -> list[System]:
    """Every scored decoding directory below ``expdir``, named after its place there."""
    found = {
        path.parent.parent if len(path.relative_to(expdir).parts) > 3 else path.parent
        for pattern in ("*/*/score.json", "*/*/*/score.json")
        for path in expdir.glob(pattern)
    }
    return [read_system(str(path.relative_to(expdir)), path) for path in sorted(found)]


def find_trainings(expdir: Path) -> dict[str, list[Path]]:
    """Trainings below ``expdir``: `x/history.jsonl`, and `x/stage*/history.jsonl` as one chain."""
    found = {path.parent.name: [path.parent] for path in sorted(expdir.glob("*/history.jsonl"))}
    for path in sorted(expdir.glob("*/stage*/history.jsonl")):
        found.setdefault(path.parent.parent.name, []).append(path.parent)
    return found


def write_report(
    out_dir: Path,
    systems: Sequence[System],
    trainings: Mapping[str, Sequence[Path]],
    stage_times: Path | None = None,
    title: str = "RESULTS",
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write RESULTS.md, results.json and `figures/*.png` below ``out_dir``.

    Args:
        systems: the first one is the recipe's own: its figures are at the top of results.json.
        trainings: directories with a history.jsonl by name; several make one chain of stages.
        stage_times: lines {"stage", "name", "seconds"} of the recipe.
        notes: paragraphs for the beginning of RESULTS.md.

    Returns:
        The files written.
    """
    histories = {name: read_history(list(paths)) for name, paths in trainings.items()}
    stages = read_stage_times(stage_times) if stage_times and stage_times.is_file() else []
    figures = _draw(out_dir / "figures", systems, histories)

    parts = [f"<!-- Generated by part_report -->\n# {title}", *notes, _environment()]
    parts += _comparison(systems)
    parts += [f"![{path.stem}](figures/{path.name})" for path in figures]
    for system in systems:
        parts.append(f"## {system.name}\n\n`{system.directory}`")
        if system.decoding:
            parts.append(
                "Decoding: {audio_seconds:.0f} s of audio in {decode_seconds:.0f} s, "
                "real-time factor {rtf:.3f}.".format(**system.decoding)
            )
        if system.sets:
            parts.append(score_sections(list(system.sets.items())).rstrip())
    if histories:
        parts.append("## Training\n\n" + _training_table(histories, trainings))
    if stages:
        parts.append("## Time of each stage\n\n" + _stage_table(stages))
    with atomic_write(out_dir / "RESULTS.md") as file:
        file.write("\n\n".join(parts) + "\n")

    summaries = {system.name: system.as_dict() for system in systems}
    first = next(iter(summaries.values()), {})
    results = {
        "wer": first.get("wer", {}),
        "cer": first.get("cer", {}),
        "bleu": first.get("bleu", {}),
        "stages": stages,
        "systems": summaries,
    }
    with atomic_write(out_dir / "results.json") as file:
        json.dump(results, file, ensure_ascii=False, indent=1)
        file.write("\n")
    return [out_dir / "RESULTS.md", out_dir / "results.json", *figures]


def _draw(
    directory: Path, systems: Sequence[System], histories: Mapping[str, list[Interval]]
) -> list[Path]:
    from espnet_part.analysis.plots import plot_bars, plot_learning_curves

    figures = []
    error_rates = {system.name: system.values("wer") for system in systems}
    characters = {key for system in systems for key in system.values("cer")}
    if any(error_rates.values()):
        only_words = not characters
        path = directory / "error_rates.png"
        plot_bars(
            error_rates,
            path,
            "Error rate by language (lower is better)",
            "WER (%)" if only_words else "WER, or CER where named (%)",
            {key: f"{key} CER" for key in characters},
        )
        figures.append(path)
    bleu = {system.name: system.values("bleu") for system in systems}
    if any(bleu.values()):
        path = directory / "bleu.png"
        plot_bars(bleu, path, "Speech translation by direction (higher is better)", "BLEU")
        figures.append(path)
    for name, intervals in histories.items():
        if intervals:
            safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
            path = directory / f"curves_{safe}.png"
            plot_learning_curves(intervals, path, f"Learning curves: {name}")
            figures.append(path)
    return figures


def _comparison(systems: Sequence[System]) -> list[str]:
    """The summary tables: error rates by language and BLEU by direction, a row a system."""
    parts = []
    for key, heading in (("wer", "Error rates (%)"), ("bleu", "BLEU")):
        values = {system.name: system.values(key) for system in systems}
        columns = list(dict.fromkeys(c for row in values.values() for c in row))
        if not columns:
            continue
        characters = {c for system in systems for c in system.values("cer")}
        header = ["system", *(f"{c} CER" if c in characters else c for c in columns), "average"]
        if key == "bleu":
            header += ["into en", "out of en"]
        rows = []
        for name, row in values.items():
            cells = [name, *(_shown(row.get(column)) for column in columns), _shown(_mean(row))]
            if key == "bleu":
                cells.append(_shown(_mean(_directions(row, target="en"))))
                cells.append(_shown(_mean(_directions(row, source="en"))))
            rows.append(cells)
        parts.append(f"## {heading}\n\n{markdown(header, rows)}")
    return parts


def _training_table(
    histories: Mapping[str, list[Interval]], trainings: Mapping[str, Sequence[Path]]
) -> str:
    header = ["system", "training", "seed", "phase", "steps", "train loss", "valid loss"]
    header += ["valid acc", "seconds"]
    rows = []
    for name, intervals in histories.items():
        seeds = {path.name: _seed(path / "config.yaml") for path in trainings[name]}
        start, before, started = 0, "", 0.0
        for (training, phase), group in groupby(intervals, lambda x: (x.training, x.phase)):
            *_, last = group
            if training != before:
                before, started = training, 0.0
            rows.append(
                [
                    name,
                    training,
                    seeds.get(training, ""),
                    phase,
                    str(last.step - start),
                    _shown(last.train.get("loss"), 3),
                    _shown(last.valid.get("loss"), 3),
                    _shown(last.valid.get("acc"), 3),
                    f"{last.seconds - started:.0f}",
                ]
            )
            start, started = last.step, last.seconds
    return markdown(header, rows)


def _stage_table(stages: Sequence[Mapping[str, Any]]) -> str:
    rows = [[str(s["stage"]), s["name"], f"{s['seconds']:.1f}"] for s in stages]
    rows.append(["", "all", f"{sum(s['seconds'] for s in stages):.1f}"])
    return markdown(["stage", "name", "seconds"], rows)


def _seed(config: Path) -> str:
    """The seed in a training's config.yaml; unknown is no reason to fail."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        return str(content.get("seed", ""))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return ""


def _environment() -> str:
    lines = [
        f"- date: `{datetime.datetime.now().astimezone():%a %b %d %H:%M:%S %Z %Y}`",
        f"- python version: `{platform.python_version()}`",
    ]
    for package in PACKAGES:
        try:
            lines.append(f"- {package} version: `{version(package)}`")
        except PackageNotFoundError:
            lines.append(f"- {package}: not installed")
    commit = _git("rev-parse", "HEAD")
    if commit:
        changed = " (with uncommitted changes)" if _git("status", "--porcelain", "-uno") else ""
        lines.append(f"- Git hash: `{commit}`{changed}")
        lines.append(f"  - Commit date: `{_git('log', '-1', '--format=%cd')}`")
    return "## Environments\n\n" + "\n".join(lines)


def _git(*arguments: str) -> str:
    """Ask git about the package's own source; empty where it is no checkout or git is missing."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _directions(
    values: Mapping[str, float | None], source: str | None = None, target: str | None = None
) -> dict[str, float | None]:
    chosen = {}
    for key, value in values.items():
        first, _, second = key.split(" ")[0].partition("-")
        if source in (None, first) and target in (None, second):
            chosen[key] = value
    return chosen


def _mean(values: Mapping[str, float | None]) -> float | None:
    numbers = [value for value in values.values() if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _shown(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
