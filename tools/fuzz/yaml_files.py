"""Damages the project's own configuration files and lets the commands' readers have them.

    python -m tools.fuzz.yaml_files --n 1000 --seed 0

Stage files, model files, prompts, decode and score configurations of all recipes, each by the code that
the commands use, with the checks that come before anything heavy.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import espnet_part.model.build  # noqa: F401 (its import takes seconds, which are not the case's)
from espnet_part.bin import part_inference
from espnet_part.config import build, load_yaml
from espnet_part.data.prompts import Prompts
from espnet_part.decode.search import Search
from espnet_part.score.score_config import load_score_config
from espnet_part.stage_file import read_schedule, read_shapes
from tools.fuzz.cases import Count, damaged_bytes, damaged_lines, read_options

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "conf/model/whisper_small_qwen2.5_0.5b.yaml")


def read_stage(path: Path) -> None:
    """As `part_describe` and `part_train` do."""
    shapes, protected = read_shapes(MODEL)
    read_schedule(str(path)).resolve(list(shapes), protected)


def read_decoding(path: Path) -> None:
    """As `part_inference` does."""
    words = ["--config", str(path), "--part_train_config", "c", "--data_dir", "d"]
    args = part_inference.parse([*words, "--output_dir", "o"])
    build(Search, {key: getattr(args, key) for key in part_inference.SEARCH}, "part_inference")


READERS: dict[str, Callable[[Path], object]] = {
    "stage": read_stage,
    "model": lambda path: read_shapes(str(path)),
    "prompts": lambda path: Prompts.load(path),
    "decode": read_decoding,
    "score": lambda path: load_score_config(path),
    "any": lambda path: load_yaml(path),
}


def kind_of(path: Path) -> str:
    """Which reader a file of the project is for."""
    if path.name.startswith("prompts"):
        return "prompts"
    if path.name == "score.yaml":
        return "score"
    if path.name.startswith("stage"):
        return "stage"
    return {"model": "model", "decode": "decode"}.get(path.parent.name, "any")


def main() -> None:
    args = read_options(__doc__, 1000)
    chance = random.Random(args.seed)
    files = sorted(p for p in (ROOT / "conf").rglob("*.yaml") if p.is_file())
    kinds = {path: kind_of(path) for path in files}
    assert set(kinds.values()) == set(READERS), kinds
    by_kind = {kind: [p for p in files if kinds[p] == kind] for kind in READERS}
    count = Count()
    os.chdir(ROOT)
    os.environ["HF_HUB_OFFLINE"] = "1"
    for number in range(args.n):
        kind = chance.choice(list(READERS))
        source = chance.choice(by_kind[kind])
        with tempfile.TemporaryDirectory() as room:
            # beside its neighbours, which `base` may name
            copy = Path(room) / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True)
            for neighbour in {source.parent, source.parent.parent}:
                for path in neighbour.glob("*.yaml"):
                    target = Path(room) / path.relative_to(ROOT)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(path.read_bytes())
            content = source.read_bytes()
            if chance.random() < 0.3:
                copy.write_bytes(damaged_bytes(content, chance))
            else:
                copy.write_text(damaged_lines(content.decode(), chance), encoding="utf-8")
            text = copy.read_bytes()
            outcome = count.run(f"{number} {source.name}", partial(READERS[kind], copy))
            if outcome in ("traceback", "hang", "unclear message"):
                (Path(tempfile.gettempdir()) / f"fuzz_{number}_{source.name}").write_bytes(text)
    count.finish()


if __name__ == "__main__":
    main()
