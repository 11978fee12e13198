"""Damages one file that holds weights, and lets a model be built and its weights be loaded.

    python -m tools.fuzz.weights --n 500 --seed 0

A tiny model is trained. A case has one of its files damaged: the trained weights, the encoder's or the
LLM's own, or a file of a checkpoint; its bytes, or a value in the header of safetensors. What is accepted
must be what was written, to the last bit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tools.fuzz.cases import Count, damaged_bytes, read_options

HEADER_VALUES = (
    *("null", "true", "-1", "1e400", "NaN", '""', "[]", "{}", "[0, 0]", "[0, 9223372036854775807]"),
    *("[-1]", "[[1]]", "18446744073709551616", '"F64"', '"BF16"', '"F8_E4M3"', '"x"', "[1, 2, 3]"),
)


def damaged_header(content: bytes, chance: random.Random) -> bytes:
    """Safetensors with one value of the header replaced, a tensor renamed or one put in."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    name = chance.choice(sorted(header))
    hostile = chance.choice(HEADER_VALUES)
    kind = chance.randrange(4)
    if kind == 0:
        header["adapter.another\x1b[2J"] = header.pop(name)
    elif kind == 1:
        header[f"{name}.again"] = header[name]
    else:
        header[name][chance.choice(sorted(header[name]))] = "HOSTILE"
    encoded = json.dumps(header).replace('"HOSTILE"', hostile).encode()
    if chance.random() < 0.2:
        return chance.randbytes(8) + encoded + content[8 + size :]
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + size :]


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file, or remove it, and say what was done."""
    content = path.read_bytes()
    kind = chance.randrange(8)
    if kind == 0:
        path.unlink()
        return "removed"
    if kind == 1:
        path.write_bytes(b"")
        return "empty"
    if path.suffix == ".safetensors" and kind <= 4:
        path.write_bytes(damaged_header(content, chance))
        return "header"
    path.write_bytes(damaged_bytes(content, chance))
    return "bytes"


def load(room: Path, accepted: dict[str, Any]) -> None:
    """Build the model of ``room``, load its weights, and those of its newest checkpoint."""
    from espnet_part.config import load_yaml
    from espnet_part.model.build import build_model
    from espnet_part.model.config import ModelConfig
    from espnet_part.train.checkpoint import (
        find_checkpoints,
        first_whole,
        load_trained,
        read_checkpoint,
        restore_weights,
    )

    os.chdir(room)
    config = ModelConfig.from_mapping(load_yaml("conf/model.yaml"), "conf/model.yaml")
    model = build_model(config)
    load_trained(model, "trained.safetensors")
    accepted["trained"] = state_of(model)
    newest = first_whole(find_checkpoints(Path("checkpoints")))
    if newest is not None:
        checkpoint = read_checkpoint(newest)
        restore_weights(model, checkpoint, str(newest))
        accepted["checkpoint"] = (state_of(model), checkpoint.state, checkpoint.optimizer["m"])


def state_of(model: Any) -> Mapping[str, bytes]:
    import torch

    return {
        name: tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in model.state_dict().items()
    }


def make_room(room: Path) -> None:
    """A trained model as the tests make it, and one checkpoint of it."""
    import torch

    from espnet_part.train.checkpoint import Checkpoint, write_checkpoint
    from espnet_part.weights import read_weights
    from tests.pack.conftest import WEIGHTS, train_recipe

    recipe = train_recipe(room.with_name("recipe"))
    room.mkdir()
    shutil.copytree(recipe / "conf", room / "conf")
    shutil.copyfile(recipe / "exp/part/stage2" / WEIGHTS, room / "trained.safetensors")
    metadata, tensors = read_weights(room / "trained.safetensors")
    optimizer = {"m": list(range(100)), "v": torch.ones(100)}
    state = {name: metadata[name] for name in ("base_models", "function")}
    write_checkpoint(room / "checkpoints/100", Checkpoint(tensors, optimizer, state))


def main() -> None:
    args = read_options(__doc__, 500)
    os.environ["HF_HUB_OFFLINE"] = "1"
    chance = random.Random(args.seed)
    count = Count(seconds=5.0)
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        make_room(whole)
        expected: dict[str, Any] = {}
        load(whole, expected)
        files = [
            *(
                "trained.safetensors",
                "conf/encoder/model.safetensors",
                "conf/llm/model.safetensors",
            ),
            *sorted(str(p.relative_to(whole)) for p in (whole / "checkpoints/100").iterdir()),
        ]
        case = Path(name) / "case"
        for number in range(args.n):
            shutil.copytree(whole, case)
            file = chance.choice(files)
            what = f"{number} {file} {damage(case / file, chance)}"
            accepted: dict[str, Any] = {}
            count.run(what, partial(load, case, accepted))
            for part, values in accepted.items():
                if values != expected[part]:
                    count.accepted_in_silence(f"{what}: {part} is another one")
            os.chdir(name)
            shutil.rmtree(case)
    count.finish()


if __name__ == "__main__":
    main()
