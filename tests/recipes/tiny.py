"""What a test needs to run a benchmark recipe's run.sh, from stage 1 to scoring, within a minute.

recipe = copy_recipe(tmp_path, "fleurs")           # egs2/fleurs/part in a tree of its own
write_clip(tmp_path / "corpus/en_us/audio/a.wav")  # speech-like noise, any format
output = run_recipe(recipe, *tiny_options(tmp_path, ["asr", "s2tt"]), FLEURS=tmp_path / "corpus")
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tests.train import tiny as tiny_training

ROOT = Path(__file__).parents[2]


def copy_recipe(root: Path, name: str) -> Path:
    """Copy egs2/NAME/part with what it links to; return the copy, whose run.sh can be run."""
    tree = root / "tree"
    ignored = shutil.ignore_patterns(
        "data", "dump", "exp", "downloads", "logs", "__pycache__", "RESULTS.md", "figures"
    )
    for part in ("egs2/TEMPLATE", f"egs2/{name}", "conf"):
        if not (tree / part).exists():
            shutil.copytree(ROOT / part, tree / part, symlinks=True, ignore=ignored)
    (tree / "tools").mkdir(exist_ok=True)
    for script_name, run in (("setup.sh", 'exec "{}" "$@"'), ("env.sh", '. "{}"')):
        script = tree / "tools" / script_name
        called = run.format(ROOT / "tools" / script_name)
        script.write_text(f"#!/usr/bin/env bash\n{called}\n", encoding="utf-8")
        script.chmod(0o755)
    return tree / "egs2" / name / "part"


def write_clip(path: Path, seconds: float = 0.5, rate: int = 16000, seed: int = 0) -> Path:
    """Write noise in the format that the name's ending says (wav, flac, mp3, opus)."""
    import numpy as np
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, samples, rate, **options)
    return path


def tiny_model(root: Path) -> Path:
    """Write a model of random weights, its tokenizer (bytes: any language) and prompts."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "tiny_model.yaml"
    path.write_text(yaml.safe_dump(tiny_training.model_config(root)), encoding="utf-8")
    return path


def tiny_stages(
    root: Path, tasks: Sequence[str] | Mapping[str, float], steps: int = 4, name: str = "part"
) -> Path:
    """Write a directory with a stage 1 of a few steps on the given tasks."""
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    wanted = dict(tasks) if isinstance(tasks, Mapping) else list(tasks)
    phase = {**tiny_training.ADAPTER, "tasks": wanted, "steps": steps}
    options = {"num_iters_per_epoch": 2, "keep_nbest_models": 1}
    content = tiny_training.stage([phase], **options)
    (directory / "stage1.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return directory


def tiny_options(root: Path, tasks: Sequence[str] | Mapping[str, float]) -> list[str]:
    """Options of run.sh with which it is done within a minute: tiny model, one stage, few tokens.

    Untrained models babble until they are stopped: after 8 tokens.
    """
    return [
        *("--model_config", str(tiny_model(root))),
        *("--part_config", str(tiny_stages(root, tasks))),
        *("--ngpu", "0", "--nj", "1", "--inference_nj", "1", "--inference_batch_size", "32"),
        *("--gpu_inference", "false", "--inference_args", "--max_new_tokens 8"),
    ]


def environment(**variables: str | Path) -> dict[str, str]:
    """The environment of run.sh: this Python, one thread, and the corpora's variables."""
    own = {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "MPLBACKEND": "Agg",
    }
    return {**os.environ, **own, **{name: str(value) for name, value in variables.items()}}


def run_recipe(recipe: Path, *options: str, fails: bool = False, **variables: str | Path) -> str:
    """Run run.sh; return what it prints to stdout and stderr.

    Args:
        fails: whether it must fail.
        variables: of the environment, e.g. ``COMMONVOICE=directory``.
    """
    done = subprocess.run(
        [str(recipe / "run.sh"), *options],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(**variables),
        cwd=recipe.parent,  # run.sh goes to its own directory
    )
    output = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, output
    return output
