"""A tiny speech LLM with random weights, its tokenizer, and data to decode."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

RATE = 16000
MODEL: dict[str, Any] = {
    "encoder": "whisper",
    "encoder_conf": {
        "config": {
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "num_mel_bins": 16,
            "max_source_positions": 200,
        }
    },
    "speech_adapter": "linear",
    "speech_adapter_conf": {"stack": 4, "hidden": 16},
    "llm_conf": {
        "config": {
            "model_type": "qwen2",
            "vocab_size": 300,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 600,
            "initializer_range": 0.6,
            "tie_word_embeddings": False,
        },
        "dtype": "float32",
    },
    "lora_conf": {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]},
}
PROMPTS = {
    "asr": {"en": ["{speech}\nTranscribe the {lang} speech."]},
    "s2tt": {"en": ["{speech}\nTranslate the {lang} speech into {tgt}."]},
    "t2tt": {"en": ["{source}\nTranslate the {lang} text into {tgt}."]},
}


def make_tokenizer(path: Path) -> None:
    """A byte-level tokenizer without merges: every byte is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.save_pretrained(path)


def make_speech(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(100, 4000, 3))
    return (0.1 * tones + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


SECONDS = {"u1": 0.5, "u2": 1.9, "u3": 1.1, "u4": 0.03, "u5": 4.6, "u6": 1.0, "u7": 2.2}


def make_exp(path: Path, **metadata: Any) -> None:
    """A training's directory: config.yaml, weights (whose header has the metadata), prompts and tokenizer."""
    import torch

    from espnet_part.model.build import build_model
    from espnet_part.model.config import ModelConfig
    from espnet_part.train.checkpoint import save_trained
    from tests.model.tiny import speak_up

    make_tokenizer(path / "tokenizer")
    (path / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    config = {**MODEL, "prompts": str(path / "prompts.yaml"), "seed": 1, "max_epoch": 3}
    config["llm_conf"] = {**MODEL["llm_conf"], "tokenizer": str(path / "tokenizer")}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = build_model(ModelConfig.from_mapping(config, "config.yaml"))
    speak_up(model)
    # everything random is kept, as if all of it had been trained
    names = [name for name, _ in model.named_parameters()]
    save_trained(path / "model.safetensors", model, names, metadata)


@pytest.fixture(scope="session")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training's directory, see `make_exp`."""
    path = tmp_path_factory.mktemp("exp")
    make_exp(path)
    return path


@pytest.fixture(scope="session")
def model(exp: Path) -> Any:
    from espnet_part.decode.speech2text import Speech2Text

    return Speech2Text(exp / "config.yaml", exp / "model.safetensors", max_tokens_per_second=8)


@pytest.fixture(scope="session")
def spelling(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model whose adapter hears by CTC."""
    import torch

    from espnet_part.data.prompts import Prompts
    from espnet_part.decode.speech2text import Speech2Text
    from espnet_part.model.build import build_model, load_tokenizer
    from espnet_part.model.config import ModelConfig

    path = tmp_path_factory.mktemp("spelling")
    make_tokenizer(path / "tokenizer")
    (path / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    adapter = {"characters": " abcdefgh", "dim": 16, "heads": 2, "ff": 16, "layers": 1}
    settings = {**MODEL, "speech_adapter": "ctc_spelling", "speech_adapter_conf": adapter}
    settings["llm_conf"] = {**MODEL["llm_conf"], "tokenizer": str(path / "tokenizer")}
    config = ModelConfig.from_mapping(settings, "model.yaml")
    torch.manual_seed(0)
    model = build_model(config)
    torch.nn.init.normal_(model.adapter.spelling.weight, std=2.0)
    prompts = Prompts.load(path / "prompts.yaml")
    return Speech2Text.from_parts(model, load_tokenizer(config.llm_conf), prompts)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Seven utterances, two of them translated, and one text."""
    from espnet_part.data.datadir import DataDir, Example

    examples = []
    for number, (utt, seconds) in enumerate(SECONDS.items()):
        speech = make_speech(seconds, number)
        audio = tmp_path / f"{utt}.wav"
        soundfile.write(audio, speech, RATE, subtype="FLOAT")
        example = Example(utt, "asr", "de", "de", "text", audio=str(audio), num_samples=len(speech))
        if utt in ("u2", "u6"):
            example = dataclasses.replace(example, task="s2tt", tgt="en")
        examples.append(example)
    examples.append(Example("v1", "t2tt", "es", "en", "text", src_text="Buenos días"))
    path = tmp_path / "data"
    DataDir.write(path, examples)
    return path
