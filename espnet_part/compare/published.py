"""Published figures to stand beside rescored ones, from the data file `published.yaml`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError, did_you_mean

LABEL = "published, not rescored"
PATH = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class PublishedRow:
    """One system's figures on one test set.

    Attributes:
        values: by language or direction.
        average_value: macro average over the languages or directions ``average_over``.
        source: the paper.
        status: whether the figures were held against it.
    """

    name: str
    task: str
    values: dict[str, float]
    source: str
    status: str
    average_value: float | None = None
    average_over: tuple[str, ...] = ()

    def average(self, members: Collection[str]) -> float | None:
        """The average, if it is over just these languages or directions."""
        return self.average_value if set(members) == set(self.average_over) else None


@dataclass(frozen=True)
class Benchmark:
    name: str
    title: str
    task: str
    metric: str
    convention: str
    rows: tuple[PublishedRow, ...]


def read_published(name: str, default_set: str = "", path: Path = PATH) -> Benchmark:
    """Read a benchmark's figures.

    Args:
        name: a key of the file, such as "fleurs"; "wenetspeech:test_net" where the benchmark has
            several test sets.
        default_set: the test set of such a benchmark where ``name`` has none, if it has it.

    Raises:
        ConfigError: no such benchmark or set, or the file is damaged.
    """
    content = load_yaml(path)
    key, _, test_set = name.partition(":")
    if key not in content:
        raise ConfigError(f"published: {did_you_mean(key, content)}")
    entry: dict[str, Any] = content[key]
    try:
        sets = sorted({known for row in entry["systems"] for known in row.get("sets", {})})
        if not test_set and default_set in sets:
            test_set = default_set
        if sets and test_set not in sets:
            choices = ", ".join(f"{key}:{known}" for known in sets)
            raise ConfigError(f"published: {key} has several test sets; give one of {choices}")
        if test_set and not sets:
            raise ConfigError(f"published: {key} has one test set only; give {key}")
        rows = tuple(
            PublishedRow(
                row["name"],
                entry["task"],
                dict(row["sets"][test_set] if sets else row.get("values", {})),
                row["source"],
                row["status"],
                row.get("average"),
                tuple(row.get("average_over", ())),
            )
            for row in entry["systems"]
            if not sets or test_set in row["sets"]
        )
        title = f"{entry['title']}: {test_set}" if sets else entry["title"]
        return Benchmark(key, title, entry["task"], entry["metric"], entry["convention"], rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: {key}: damaged: {error!r}") from None


def rows_of(benchmarks: Sequence[Benchmark], task: str) -> list[PublishedRow]:
    """The rows for a task; of several benchmarks each says which it is of."""
    chosen = [benchmark for benchmark in benchmarks if benchmark.task == task]
    if len(chosen) == 1:
        return list(chosen[0].rows)
    return [
        replace(row, name=f"{row.name}, {benchmark.title}")
        for benchmark in chosen
        for row in benchmark.rows
    ]


def published_names(path: Path = PATH) -> list[str]:
    """The benchmarks of the data file."""
    return list(load_yaml(path))
