"""What is there for the same things is not made again; anything else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_part.analysis.checkpoints import PhaseModel
from espnet_part.analysis.store import examples_digest, kept, model_digest
from espnet_part.data.datadir import Example
from espnet_part.weights import write_weights


class Maker:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> dict[str, Any]:
        self.made += 1
        return {"value": self.made}


def test_the_same_is_kept_and_other_things_are_made_anew(tmp_path: Path) -> None:
    make, path = Maker(), tmp_path / "new/result.json"
    assert kept(path, {"seed": 1, "layers": (1, 2)}, make) == {"value": 1}
    assert kept(path, {"seed": 1, "layers": (1, 2)}, make) == {"value": 1}
    assert kept(path, {"seed": 2, "layers": (1, 2)}, make) == {"value": 2}
    assert make.made == 2


@pytest.mark.parametrize(
    "content", ["", "[]", '{"made_of": {"a": 1}}', '{"made_of": {"a": 1}, "result"', "\0"]
)
def test_a_damaged_result_is_made_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    make = Maker()
    assert kept(path, {"a": 1}, make) == kept(path, {"a": 1}, make) == {"value": 1}


def test_every_part_of_a_model_tells_it_from_others(tmp_path: Path) -> None:
    def digest(
        weight: float = 1.0, header: str = "a", config: str = "", prompts: str = "asr: []\n"
    ) -> str:
        (tmp_path / "prompts.yaml").write_text(prompts)
        (tmp_path / "config.yaml").write_text(f"prompts: {tmp_path}/prompts.yaml\n{config}")
        weights = tmp_path / "w.safetensors"
        write_weights(weights, {"w": torch.full((2,), weight)}, {"base_models": header})
        return model_digest(PhaseModel("part", "stage1", "a", tmp_path / "config.yaml", weights))

    assert digest() == digest()
    changed = [
        digest(weight=2.0),
        digest(header="b"),
        digest(config="seed: 1\n"),
        digest(prompts="asr: [x]\n"),
    ]
    assert len({digest(), *changed}) == 5


def test_examples_by_their_content() -> None:
    one = Example("u", "asr", "de", "de", "x", audio="a.wav")
    other = Example("u", "asr", "de", "de", "y", audio="a.wav")
    assert examples_digest([one]) == examples_digest([one]) != examples_digest([other])
    assert examples_digest([one, other]) != examples_digest([other, one])
