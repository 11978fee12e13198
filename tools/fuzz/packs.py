"""Damages a packed model and lets `Speech2Text.from_pretrained` have it.

    python -m tools.fuzz.packs --n 1000 --seed 0

A tiny model is trained and packed, base models inside. A case has one member damaged (bytes, a line of its
YAML, a value of its JSON), removed, or put in beside; the manifest is recomputed in most cases, as somebody
with bad intentions would. A case whose weights were changed behind the manifest must not be accepted.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tools.fuzz.cases import VALUES, Count, damaged_bytes, damaged_lines, read_options

NAMES = (
    "../evil.safetensors",
    "/tmp/evil",
    "x.py",
    "pytorch_model.bin",
    "adapter_config.json",
    "a\0b",
)
KEYS = (
    "_attn_implementation",
    "attn_implementation",
    "auto_map",
    "quantization_config",
    "model_type",
)


def make_pack(room: Path) -> Path:
    """A packed model, as the tests make it."""
    from espnet_part.pack.package import pack
    from tests.pack.conftest import WEIGHTS, train_recipe

    recipe = train_recipe(room / "recipe")
    archive = room / "model.zip"
    before = Path.cwd()
    os.chdir(recipe)
    try:
        run = Path("exp/part/stage2")
        pack(run / "config.yaml", run / WEIGHTS, archive, with_base_models=True)
    finally:
        os.chdir(before)
    return archive


def damaged_json(content: bytes, chance: random.Random) -> bytes:
    """JSON with the value of one key, somewhere, replaced by a hostile one, or with a key put in."""
    tree = json.loads(content)
    node: Any = tree
    while True:
        children = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not children or (isinstance(node, dict) and chance.random() < 0.1):
            break
        key = chance.choice(children)
        if isinstance(node[key], (dict, list)) and node[key] and chance.random() < 0.7:
            node = node[key]
            continue
        node[key] = "HOSTILE"
        break
    if isinstance(node, dict) and chance.random() < 0.2:
        node[chance.choice(KEYS)] = "HOSTILE"
    hostile = chance.choice(VALUES)
    return json.dumps(tree).replace('"HOSTILE"', hostile).encode()


def damage(members: dict[str, bytes], chance: random.Random) -> tuple[str, bool]:
    """Damage ``members`` in place.

    Returns:
        What was done, and whether the manifest must show it.
    """
    name = chance.choice(sorted(members))
    content = members[name]
    kind = chance.randrange(8)
    if kind == 0:
        del members[name]
        what = f"{name} removed"
    elif kind == 1:
        what = name = chance.choice(NAMES)
        members[name] = content = b"import os"
    elif kind <= 3 or not name.endswith((".yaml", ".json")):
        members[name] = damaged_bytes(content, chance)
        what = f"{name} bytes"
    elif name.endswith(".yaml"):
        members[name] = damaged_lines(content.decode(), chance).encode("utf-8", "surrogateescape")
        what = f"{name} line"
    else:
        members[name] = damaged_json(content, chance)
        what = f"{name} value"
    if chance.random() < 0.6 and "meta.yaml" in members:
        members["meta.yaml"] = without_manifest(members["meta.yaml"])
        return f"{what}, no manifest", name.endswith("model.safetensors") and "/" not in name
    changed = name in members and members[name] != content
    return what, changed and name not in ("meta.yaml", "config.yaml")


def without_manifest(meta: bytes) -> bytes:
    """The meta file as an attacker leaves it."""
    try:
        values = yaml.safe_load(meta)
        values.pop("sha256", None)
        return yaml.safe_dump(values).encode()
    except Exception:
        return meta


def load(archive: Path, cache: Path) -> None:
    """As a user does, with one utterance decoded."""
    import numpy as np

    from espnet_part.decode.speech2text import Speech2Text
    from espnet_part.pack.stored import find_model

    found = find_model(archive, cache=cache)
    speech2text = Speech2Text(found.config, found.weights)
    speech2text.search = type(speech2text.search)(max_new_tokens=2)
    speech2text(np.zeros(4000, np.float32), lang="de")


def main() -> None:
    args = read_options(__doc__, 1000)
    os.environ["HF_HUB_OFFLINE"] = "1"
    chance = random.Random(args.seed)
    count = Count(seconds=5.0)
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        whole = make_pack(room)
        load(whole, room / "warm")  # imports take seconds, which are not the cases'
        with zipfile.ZipFile(whole) as file:
            members = {name: file.read(name) for name in file.namelist()}
        for number in range(args.n):
            case = dict(members)
            what, must_show = damage(case, chance)
            archive = room / "case.zip"
            if chance.random() < 0.1:
                archive.write_bytes(damaged_bytes(whole.read_bytes(), chance))
                what, must_show = "the archive's bytes", False
            else:
                with zipfile.ZipFile(archive, "w") as file:
                    for member, content in case.items():
                        file.writestr(member, content)
            with tempfile.TemporaryDirectory(dir=room) as cache:
                outcome = count.run(f"{number} {what}", partial(load, archive, Path(cache)))
            if outcome == "accepted" and must_show:
                count.accepted_in_silence(f"{number} {what}")
    count.finish()


if __name__ == "__main__":
    main()
