"""A recipe's directory with base models on disk, trained in two stages, and what it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from espnet_part.weights import read_header, write_weights
from tests.train.launch import CONTEXT
from tests.train.tiny import ADAPTER, JOINT, make_data, model_config, stage

Decoder = Callable[..., list[list[int]]]
WEIGHTS = "valid.acc.ave.safetensors"


def save_base_models(directory: Path) -> None:
    """Random base models as directories of transformers; clips of noise lead to many tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM, WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = model_config(directory)
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(**config["encoder_conf"]["config"]))
    llm = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**config["llm_conf"]["config"], initializer_range=0.6)
    )
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    encoder.save_pretrained(directory / "encoder")
    llm.save_pretrained(directory / "llm")
    shutil.copytree(directory / "tokenizer", directory / "llm", dirs_exist_ok=True)
    shutil.rmtree(directory / "tokenizer")
    (directory / "llm/LICENSE").write_text("do what you like\n")
    (directory / "llm/README.md").write_text("---\nlicense: apache-2.0\n---\n# An LLM\n")


def train(recipe: Path, *cmd: str) -> None:
    process = CONTEXT.Process(target=_train, args=(str(recipe), cmd))
    process.start()
    process.join(timeout=600)  # a hang
    assert process.exitcode == 0, (recipe / "train.log").read_text()


def _train(recipe: str, cmd: Sequence[str]) -> None:
    os.chdir(recipe)
    with Path("train.log").open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    torch.set_num_threads(1)
    from espnet_part.bin.part_train import main

    main(list(cmd))


def strengthen(weights: Path, seed: int = 0) -> None:
    """Few steps leave LoRA near zero: give it weights that change the tokens."""
    header, _ = read_header(weights)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(tensor.shape, generator=generator) * 0.3 if ".lora_B" in name else tensor
        for name, tensor in load_file(weights).items()
    }
    write_weights(weights.resolve(), state, header)


def train_recipe(recipe: Path) -> Path:
    """Train two stages in a directory like a recipe's; every path is relative to it."""
    recipe.mkdir(parents=True)
    (recipe / "conf").mkdir()
    model = model_config(recipe / "conf")
    save_base_models(recipe / "conf")
    model["encoder_conf"] = {"name": "conf/encoder"}
    model["llm_conf"] = {"name": "conf/llm", "dtype": "float32"}
    model["prompts"] = "conf/prompts.yaml"
    phases = ({**ADAPTER, "steps": 2}, {**JOINT, "steps": 2})
    (recipe / "conf/model.yaml").write_text(yaml.safe_dump(model))
    for number, phase in enumerate(phases, 1):
        content = stage([phase], keep_nbest_models=1, num_iters_per_epoch=2)
        (recipe / f"conf/stage{number}.yaml").write_text(yaml.safe_dump(content))
    make_data(recipe / "data/train", 3, seed=1)
    make_data(recipe / "data/valid", 1, seed=2)
    common = ("--model_config", "conf/model.yaml", "--ngpu", "0", "--valid_data_dir", "data/valid")
    for number in (1, 2):
        before = f"exp/part/stage{number - 1}/{WEIGHTS}"
        train(
            recipe,
            *("--config", f"conf/stage{number}.yaml", "--output_dir", f"exp/part/stage{number}"),
            *("--train_data_dir", "data/train", *common),
            *(("--part_init", before) if number > 1 else ()),
        )
    strengthen(recipe / "exp/part/stage2" / WEIGHTS)
    return recipe


def make_speech(count: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(4000 + 3000 * n).astype(np.float32) for n in range(count)]


def decode(speech2text: Any) -> list[list[int]]:
    speech2text.search = type(speech2text.search)(max_tokens_per_second=8)
    return [speech2text(speech, lang="de")[0].token_int for speech in make_speech()]


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained recipe that no test changes."""
    return train_recipe(tmp_path_factory.mktemp("master") / "recipe")


@pytest.fixture(scope="session")
def expected(master: Path) -> list[list[int]]:
    """The tokens of the trained model, where it was trained, and as it was: with LoRA unmerged."""
    from espnet_part.decode.speech2text import Speech2Text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("espnet_part.model.lora.merge_lora", lambda *_: 0)
        patch.chdir(master)
        run = Path("exp/part/stage2")
        tokens = decode(Speech2Text(run / "config.yaml", run / WEIGHTS))
    # the tests would say nothing if all clips led to the same tokens
    assert len({tuple(ids[:4]) for ids in tokens}) > 3
    return tokens


@pytest.fixture
def recipe(master: Path, tmp_path: Path) -> Path:
    """A copy of the trained recipe to change or remove."""
    return Path(shutil.copytree(master, tmp_path / "here/recipe", symlinks=True))


@pytest.fixture(scope="session")
def packed(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model as a zip with its base models inside."""
    from espnet_part.bin.part_pack import main

    archive = tmp_path_factory.mktemp("packed") / "tiny.zip"
    main(
        [
            *("--model", str(master / "exp/part"), "--outpath", str(archive)),
            *("--with_base_models", "true"),
        ]
    )
    return archive


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESPNET_PART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
