"""PART's recipe as a system of ESPnet 3."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from espnet3.contract.stages import StageSpec, roles
from espnet3.systems.base.system import BaseSystem
from omegaconf import OmegaConf

from espnet_part.errors import ConfigError, UserError
from espnet_part.espnet3.options import part_words

logger = logging.getLogger(__name__)


class PARTSystem(BaseSystem):
    """Trains and evaluates a speech LLM by PART's schedule.

    ESPnet 3 reads the configurations, chooses the stages and keeps a log of each. A stage is a range of
    part.sh's, so data, training, decoding, scores and packing are those of a recipe in egs2, and what is
    done is not done again. A stage that fails ends the program, with the line that says why.
    """

    stages: ClassVar[tuple[StageSpec, ...]] = (
        StageSpec(name="create_dataset", config="training", log_dir="exp_dir"),
        StageSpec(name="collect_stats", config="training", log_dir="exp_dir"),
        StageSpec(name="train", config="training", log_dir="exp_dir"),
        StageSpec(name="infer", config=("training", "inference"), log_dir="exp_dir"),
        StageSpec(name="measure", config=("training", "inference", "metrics"), log_dir="exp_dir"),
        StageSpec(
            name="pack_model", config=("training", "inference", "publication"), log_dir="exp_dir"
        ),
        StageSpec(
            name="upload_model", config=("training", "inference", "publication"), log_dir="exp_dir"
        ),
    )

    def create_dataset(self) -> None:
        """Make, format and filter the data directories."""
        self._run("create_dataset")

    def collect_stats(self) -> None:
        """Make or fetch the base models, count tokens, show the mixture, store encoder features."""
        self._run("collect_stats")

    def train(self) -> None:
        """Train all stages of the schedule."""
        self._run("train")

    def infer(self) -> None:
        """Decode the test sets."""
        self._run("infer")

    def measure(self) -> None:
        """Score what was decoded, and write RESULTS.md and the report."""
        self._run("measure")

    def pack_model(self) -> None:
        """Put the trained model into one file."""
        self._run("pack_model")

    def upload_model(self) -> None:
        """Pack the model and upload it to the Hugging Face hub."""
        self._run("upload_model")

    def _run(self, stage: str) -> None:
        given = {role: getattr(self, f"{role}_config") for role in roles(type(self))}
        configs: dict[str, Any] = {
            role: OmegaConf.to_container(config, resolve=True)
            for role, config in given.items()
            if config is not None
        }
        try:
            words = part_words(stage, configs)
            _run_script(Path(configs["training"]["recipe_dir"]), words)
        except UserError as error:  # nobody above would turn it into one line
            logger.error("%s", error)
            sys.exit(error.status)


def _run_script(recipe: Path, words: Sequence[str]) -> None:
    """Run part.sh with this Python, what it prints in the log; end with its status if it fails."""
    if not (recipe / "part.sh").is_file():
        raise ConfigError(
            f"recipe_dir: {recipe}/part.sh is missing; start run.py in the recipe's directory"
        )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with subprocess.Popen(
        ["./part.sh", *words, "--python", sys.executable],
        cwd=recipe,
        env={**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as script:
        assert script.stdout is not None
        try:
            _log(script.stdout)
        except KeyboardInterrupt:
            script.send_signal(signal.SIGINT)  # which it has had already where Ctrl-C was typed
            _log(script.stdout)
    if script.returncode:
        sys.exit(script.returncode)


def _log(lines: IO[str]) -> None:
    for line in lines:
        logger.info("%s", line.rstrip("\n"))
