"""Pretrain both base models of the embedded corpus at the same time, one process each.

    python -m espnet_part.corpora.mini.base_models --config conf/base_models.yaml --langs "en de es"

The configuration has the sections ``encoder`` and ``llm``: options of `pretrain_encoder` and
`pretrain_llm`, and where each model goes (``out``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet_part.command import command
from espnet_part.config import load_yaml
from espnet_part.corpora.mini import pretrain_encoder, pretrain_llm
from espnet_part.corpora.mini.grammar import check_languages
from espnet_part.errors import ConfigError, DataError, did_you_mean

MODULES = {"encoder": pretrain_encoder, "llm": pretrain_llm}


def commands(config: str, changes: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Build the two commands.

    Args:
        config: YAML file with the sections ``encoder`` and ``llm``.
        changes: {section: {option: value}} laid over it; None leaves the file's value.

    Raises:
        ConfigError: missing section or unknown option, with the file and the mend.
    """
    sections = load_yaml(config)
    result = {}
    for section, module in MODULES.items():
        values = sections.pop(section, None)
        if not isinstance(values, dict) or "out" not in values:
            raise ConfigError(f"{config}: {section}: must be a mapping with the key `out`")
        given = {k: v for k, v in changes.get(section, {}).items() if v is not None}
        values = {**values, **given}
        known = ["out", "threads", *asdict(module.Options())]
        arguments = []
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"{config}: {section}: {did_you_mean(key, known)}")
            arguments += [f"--{key}", str(value)]
        result[section] = [sys.executable, "-m", module.__name__, *arguments]
    if sections:
        raise ConfigError(f"{config}: {did_you_mean(next(iter(sections)), MODULES)}")
    return result


def run(command_lines: dict[str, list[str]]) -> None:
    """Run the commands side by side; when one fails, end the others.

    Raises:
        DataError: one failed; it has said why.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for position, (name, line) in enumerate(command_lines.items()):
            # on a terminal each has a line for its bar; in a log file both print lines
            environment = {**os.environ, "TQDM_POSITION": str(position)}
            processes[name] = subprocess.Popen(line, env=environment)
        waiting = dict(processes)
        while waiting:
            for name, process in list(waiting.items()):
                try:
                    status = process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
                del waiting[name]
                if status != 0:
                    raise DataError(f"pretraining the {name} failed with status {status}")
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait()


def get_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        description="Pretrain the embedded corpus's encoder and LLM side by side."
    )
    parser.add_argument("--config", default="conf/base_models.yaml", help="(%(default)s)")
    parser.add_argument("--langs", default="en de es", help="languages (%(default)s)")
    parser.add_argument("--encoder_steps", type=int, help="instead of the file's")
    parser.add_argument("--llm_steps", type=int, help="instead of the file's")
    return parser


@command
def main(cmd: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    langs = args.langs.replace(",", " ").split()
    check_languages(langs)
    changes = {
        "encoder": {"steps": args.encoder_steps},
        "llm": {"steps": args.llm_steps, "langs": " ".join(langs)},
    }
    lines = commands(args.config, changes)
    run(lines)
    for name, line in lines.items():
        out = Path(line[line.index("--out") + 1])
        result = json.loads((out / "pretraining.json").read_text(encoding="utf-8"))
        print(f"{name} ({out}): {json.dumps(result)}")


if __name__ == "__main__":
    main()
