"""Scored systems of a recipe: finding them, reading their score.json files, laying sets side by
side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError, DataError
from espnet_part.parsing import read_json_object, read_yaml
from espnet_part.report.comparison_tables import Rows, figures, find_measures

_MEASURES = ("wer", "cer", "bleu", "chrf", "chrf++")


@dataclass(frozen=True)
class System:
    """A system's scores on one or several test sets.

    Attributes:
        sets: content of each score.json by test set; the first set's languages keep plain keys.
        decoding: seconds of decoding and of audio, and their ratio; empty where unknown.
        paths: the directory of each score.json.
    """

    name: str
    directory: Path
    sets: dict[str, dict[str, Any]]
    decoding: dict[str, float] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)

    def values(self, key: str) -> dict[str, float | None]:
        """One measure ("wer", "cer", "bleu", "chrf", "chrf++") by language or direction.

        A language that two sets share appears as "de", and as "de (second set)".
        """
        merged: dict[str, float | None] = {}
        for name, scores in self.sets.items():
            for language, value in scores.get(key, {}).items():
                merged[language if language not in merged else f"{language} ({name})"] = value
        return merged

    def as_dict(self) -> dict[str, Any]:
        summary: dict[str, Any] = {key: self.values(key) for key in _MEASURES}
        summary["average"] = {
            "wer": mean(summary["wer"]),
            "bleu": mean(summary["bleu"]),
            "bleu_into_en": mean(directions(summary["bleu"], target="en")),
            "bleu_out_of_en": mean(directions(summary["bleu"], source="en")),
        }
        summary["sets"] = {
            name: {
                "tasks": scores["tasks"],
                "intervals": scores.get("intervals", {}),
                "average": scores.get("average", {}),
                "average_intervals": scores.get("average_intervals", {}),
                "utterances": scores["utterances"],
                "missing": len(scores["missing"]),
                "failed": len(scores.get("failed", {})),
            }
            for name, scores in self.sets.items()
        }
        summary["decoding"] = self.decoding
        summary["training_normalizer"] = training_normalizer(self.directory)
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
            sets[path.parent.name] = read_json_object(path, largest=1 << 28)
        except ConfigError as error:
            raise DataError(str(error)) from None
        for times in sorted(path.parent.glob("logdir/output.*/rtf.json")):
            content = read_json_object(times)
            for key in seconds:
                seconds[key] += float(content.get(key, 0.0))
    if seconds["audio_seconds"]:
        seconds["rtf"] = seconds["decode_seconds"] / seconds["audio_seconds"]
    else:
        seconds = {}
    return System(name, directory, sets, seconds, {path.parent.name: path.parent for path in paths})


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


def training_normalizer(directory: Path) -> str:
    """What the training transcripts went through: the file `text_normalizer` of the training data.

    The experiment above a decoding directory has a config.yaml, or one a stage, which names the
    data. "none" where data of ours have no such file; "unknown" where those of a stock ESPnet
    training have none, or where there is no config.yaml.
    """
    known: set[str] = set()
    for experiment in (directory, *list(directory.parents)[:2]):
        for config in [experiment / "config.yaml", *experiment.glob("stage*/config.yaml")]:
            for data, otherwise in _training_directories(config):
                path = locate(data, experiment) / "text_normalizer"
                said = path.read_text(encoding="utf-8").strip() if path.is_file() else otherwise
                known.add(said)
        if known:
            return ", ".join(sorted(known))
    return "unknown"


def _training_directories(config: Path) -> list[tuple[Path, str]]:
    """The training data of a config.yaml, and what their lack of a named normaliser means.

    An unreadable one is no reason to fail.
    """
    try:
        content = read_yaml(config)
        ours = content.get("train_data_dir") or []
        stock = content.get("train_data_path_and_name_and_type") or []
        return [(Path(path), "none") for path in ([ours] if isinstance(ours, str) else ours)] + [
            (Path(path).parent, "unknown") for path, name, _ in stock if name == "text"
        ]
    except (ConfigError, AttributeError, TypeError, ValueError):
        return []


def locate(path: Path, beneath: Path) -> Path:
    """Find a path that a recipe wrote relative to its directory, which is above ``beneath``.

    The current directory comes last: another recipe may be there, with data of the same name.
    """
    if not path.is_absolute():
        for parent in beneath.resolve().parents:
            if (parent / path).exists():
                return path if parent == Path.cwd() else parent / path
    return path


def side_by_side(systems: Sequence[System]) -> list[tuple[str, Rows]]:
    """Group scores for tables: (name of the test set, rows).

    Test sets that share no language or direction make one group without a name, whose rows join
    the sets of a system; otherwise each set is a group of its own, for a column must mean one
    thing.
    """
    names = list(dict.fromkeys(name for system in systems for name in system.sets))
    owners: dict[tuple[Any, str], set[str]] = {}
    for system in systems:
        for name, score in system.sets.items():
            for measure in find_measures([("", score)]):
                for key in figures(score, measure):
                    owners.setdefault((measure, key), set()).add(name)
    if len(names) == 1 or all(len(sets) == 1 for sets in owners.values()):
        return [("", [(system.name, _joined(list(system.sets.values()))) for system in systems])]
    return [
        (name, [(system.name, system.sets[name]) for system in systems if name in system.sets])
        for name in names
    ]


def _joined(scores: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Scores of sets without a common language as one; an average has no interval then."""
    if len(scores) == 1:
        return scores[0]
    joined: dict[str, Any] = {"tasks": {}, "intervals": {}, "average": {}}
    for part in ("tasks", "intervals"):
        for score in scores:
            for task, measures in score.get(part, {}).items():
                for measure, values in measures.items():
                    joined[part].setdefault(task, {}).setdefault(measure, {}).update(values)
    for task, measures in joined["tasks"].items():
        bleu = measures.get("bleu", {})
        joined["average"][task] = {
            "wer": mean(measures.get("wer", {})),
            "bleu": mean(bleu),
            "bleu_into_en": mean(directions(bleu, target="en")),
            "bleu_out_of_en": mean(directions(bleu, source="en")),
        }
    return joined


def directions(
    values: Mapping[str, float | None], source: str | None = None, target: str | None = None
) -> dict[str, float | None]:
    """Those from ``source`` or into ``target``."""
    chosen = {}
    for key, value in values.items():
        first, _, second = key.split(" ")[0].partition("-")
        if source in (None, first) and target in (None, second):
            chosen[key] = value
    return chosen


def mean(values: Mapping[str, float | None]) -> float | None:
    """The macro average; undefined where a figure is, as in score.json, or where there is none."""
    numbers = [value for value in values.values() if value is not None]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(values) else None
