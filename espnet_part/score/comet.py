"""COMET of translations: a learned metric (Rei et al., "COMET-22", WMT 2022), on request.

The package `unbabel-comet` needs older versions of transformers and numpy than ESPnet-PART, so it
lives in an environment of its own and runs there as a program:

    python -m venv comet && comet/bin/pip install "unbabel-comet>=2.2"
    part_score ... --comet_model wmt22-comet-da --comet_python comet/bin/python

The model is a local directory (or its checkpoint file); nothing is downloaded. A checkpoint of
torch may hold code, so one that torch cannot load with ``weights_only`` is refused.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.errors import ConfigError, DataError
from espnet_part.score.bootstrap import percentile_interval, resample_sums
from espnet_part.score.counting import Measured
from espnet_part.score.references import GroupKey, some_names
from espnet_part.score.score_config import BootstrapConfig
from espnet_part.score.scoring import group_name
from espnet_part.tasks import pair_label

_PROGRAM = Path(__file__).with_name("comet_program.py")


def score_comet(
    measured: Mapping[GroupKey, Measured],
    sources: Mapping[str, str],
    model: str | Path,
    python: str,
    config: BootstrapConfig,
) -> dict[str, Any]:
    """COMET by direction and its average, times 100; for score.json.

    An empty hypothesis counts as 0, since COMET was not made for such.

    Args:
        sources: the source text of each utterance (the transcript of the speech).
        model: a COMET checkpoint, or the directory that holds `checkpoints/model.ckpt`.
        python: the Python of the environment with `unbabel-comet`.

    Raises:
        ConfigError: COMET is not installed there, or the model cannot be loaded safely.
        DataError: a translation has no source text.
    """
    translated = {key: g for key, g in measured.items() if g.translations is not None}
    utterances = [utt for group in translated.values() for utt in group.utterances]
    lacking = [utterance for utterance in utterances if not sources.get(utterance)]
    if lacking:
        raise DataError(
            f"COMET needs the source text of every translation; src_text has none of "
            f"{len(lacking)} utterances: {some_names(lacking)}"
        )
    samples = [
        {"src": sources[utterance], "mt": hypothesis, "ref": reference}
        for group in translated.values()
        for utterance, reference, hypothesis in zip(
            group.utterances, group.references, group.hypotheses, strict=True
        )
    ]
    values = np.zeros(len(samples))
    package = ""
    spoken = [number for number, sample in enumerate(samples) if sample["mt"].strip()]
    if spoken:
        checkpoint = find_checkpoint(Path(model))
        values[spoken], package = run_comet([samples[i] for i in spoken], checkpoint, python)
    return {
        "model": str(model),
        "version": package,
        **_summarize(translated, 100.0 * values, config),
    }


def _summarize(
    translated: Mapping[GroupKey, Measured], values: np.ndarray, config: BootstrapConfig
) -> dict[str, Any]:
    groups: list[dict[str, Any]] = []
    samples: dict[str, list[np.ndarray]] = {}
    start = 0
    for key, group in translated.items():
        task, source, target = key
        count = len(group.utterances)
        own = values[start : start + count]
        start += count
        means = resample_sums(own[:, None], config, group_name(key))[:, 0] / count
        samples.setdefault(task, []).append(means)
        groups.append(
            {
                "task": task,
                "direction": pair_label(source, target),
                "sentences": count,
                "comet": float(own.mean()),
                "interval": _interval(means, config.level),
            }
        )
    average = {}
    for task, resampled in samples.items():
        figures = [group["comet"] for group in groups if group["task"] == task]
        interval = _interval(np.mean(resampled, axis=0), config.level)
        average[task] = {"comet": float(np.mean(figures)), "interval": interval}
    return {"groups": groups, "average": average}


def _interval(figures: np.ndarray, level: float) -> dict[str, float] | None:
    interval = percentile_interval(figures, level)
    return None if interval is None else interval.as_dict()


def find_checkpoint(model: Path) -> Path:
    """The checkpoint file of a COMET model.

    Raises:
        ConfigError: there is none, or hparams.yaml is missing beside it.
    """
    checkpoint = model / "checkpoints" / "model.ckpt" if model.is_dir() else model
    if not checkpoint.is_file():
        raise ConfigError(f"{checkpoint}: no such file; COMET needs a model that is on disk")
    if not (checkpoint.parents[1] / "hparams.yaml").is_file():
        raise ConfigError(f"{checkpoint.parents[1] / 'hparams.yaml'}: no such file")
    return checkpoint


def run_comet(
    samples: Sequence[dict[str, str]], checkpoint: Path, python: str
) -> tuple[list[float], str]:
    """Score samples with keys "src", "mt" and "ref" in another environment.

    Returns:
        A score a sample, and the version of unbabel-comet.

    Raises:
        ConfigError: with what the program said.
    """
    with tempfile.TemporaryDirectory() as name:
        given, found = Path(name, "samples.json"), Path(name, "scores.json")
        given.write_text(json.dumps(list(samples)), encoding="utf-8")
        command = [python, str(_PROGRAM), str(checkpoint.absolute()), str(given), str(found)]
        try:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except OSError as error:
            raise ConfigError(f"--comet_python {python}: {error.strerror}") from None
        if done.returncode or not found.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise ConfigError(f"COMET by {python}: {said[-1]}")
        content = json.loads(found.read_text(encoding="utf-8"))
    return content["scores"], content["version"]
