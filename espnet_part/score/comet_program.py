"""Runs COMET; started by `comet.py` with the Python of COMET's own environment.

Usage: python comet_program.py CHECKPOINT SAMPLES.json SCORES.json. Imports nothing of this package.
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def main() -> None:
    checkpoint, given, found = map(Path, sys.argv[1:])
    # Python looks for modules beside its program first, where a comet.py is
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    try:
        from comet import load_from_checkpoint  # isort: skip  # what is most likely missing

        import torch
        import yaml
    except ImportError as error:
        sys.exit(f"{error}; install COMET: {sys.executable} -m pip install unbabel-comet")
    try:
        # COMET itself loads both in ways that can run code; what passes here has none.
        yaml.safe_load((checkpoint.parents[1] / "hparams.yaml").read_text(encoding="utf-8"))
        torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        first = str(error).split("\n")[0]
        sys.exit(f"{checkpoint}: refused, for loading it may run code ({first})")
    model = load_from_checkpoint(str(checkpoint), local_files_only=True)
    prediction = model.predict(
        json.loads(given.read_text(encoding="utf-8")),
        batch_size=16,
        gpus=int(torch.cuda.is_available()),
        num_workers=0,
    )
    try:
        package = version("unbabel-comet")
    except PackageNotFoundError:
        package = "?"
    content = {"scores": [float(score) for score in prediction.scores], "version": package}
    found.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
