"""What figures rest on: versions, checkpoints, decoding, and the configurations of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_part.document import Bullets, Heading, Table
from espnet_part.errors import ConfigError
from espnet_part.parsing import read_yaml
from espnet_part.report.environment import environment
from espnet_part.report.page.parts import Part
from espnet_part.report.results import Results
from espnet_part.report.system_tables import decoding_lines, system_table


def provenance_parts(results: Results) -> list[Part]:
    """What RESULTS.md says of it, and the trainings' configurations."""
    parts: list[Part] = []
    if results.systems:
        parts += [Heading(3, "Systems"), system_table(results.systems)]
        lines = decoding_lines(results.systems)
        if lines:
            parts.append(Bullets(lines))
    trained = trainings_table(results.trainings)
    if trained:
        parts += [Heading(3, "Trainings"), trained]
    return [*parts, *environment(3)]


def trainings_table(trainings: Mapping[str, Sequence[Path]]) -> Table:
    """A row a training, from its config.yaml; an unreadable one has no row."""
    header = ["system", "training", "stage file", "model", "encoder", "adapter", "LLM", "seed"]
    rows = []
    for name, paths in trainings.items():
        for path in paths:
            try:
                content = read_yaml(path / "config.yaml")
            except ConfigError:
                continue
            if isinstance(content, dict):
                rows.append([name, path.name, *map(str, _facts(content))])
    return Table([*header, "starts from"], rows)


def _facts(config: Mapping[str, Any]) -> list[Any]:
    def base(key: str) -> Any:
        conf = config.get(f"{key}_conf")
        return conf.get("name", "-") if isinstance(conf, dict) else "-"

    encoder = f"{config.get('encoder', '-')} {base('encoder')}"
    keys = ("config", "model_config")
    return [
        *(config.get(key) or "-" for key in keys),
        encoder,
        config.get("speech_adapter", "-"),
        base("llm"),
        config.get("seed", "-"),
        config.get("part_init") or "-",
    ]
