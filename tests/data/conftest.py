"""A tiny tokenizer and tiny data directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from espnet_part.data.datadir import DataDir, Example

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def make_tokenizer(template: str | None = CHAT_TEMPLATE, pad: str | None = "<|pad|>") -> Any:
    """A byte-level BPE over a few sentences, with Qwen's control tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ["Transcribe the German speech.", "the dog sees a small house", "user assistant"] * 5
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>" if template else "<|endoftext|>",
        pad_token=pad,
        chat_template=template,
    )


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="session")
def plain_tokenizer() -> Any:
    return make_tokenizer(template=None)


def tone(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (0.05 * noise).astype(np.float32)


def make_examples(directory: Path, speech: int = 9, text: int = 5) -> list[Example]:
    """Speech (ASR and translation) in two languages with 16 kHz WAV files, and text."""
    examples = []
    directory.mkdir(parents=True, exist_ok=True)
    for n in range(speech):
        path = directory / f"{n}.wav"
        wave = tone(0.1 + 0.05 * (n % 4), seed=n)
        soundfile.write(path, wave, 16000)
        lang = "de" if n % 3 else "es"
        task, tgt = ("asr", lang) if n % 2 else ("s2tt", "en")
        examples.append(
            Example(
                f"{lang}_{n:03d}-{task}-{tgt}",
                task,
                lang,
                tgt,
                text="the dog sees" + " a small house" * (n % 3 + 1),
                audio=str(path),
                num_samples=len(wave),
            )
        )
    for n in range(text):
        source = "der Hund sieht" + " ein Haus" * (n % 3 + 1)
        examples.append(
            Example(f"de_t{n:03d}-t2tt-en", "t2tt", "de", "en", "the dog" + " the dog" * n, source)
        )
    return examples


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    return make_examples(tmp_path / "audio")


@pytest.fixture
def data_dir(tmp_path: Path, examples: list[Example]) -> Path:
    DataDir.write(tmp_path / "data", examples)
    return tmp_path / "data"


def write_model(directory: Path) -> Path:
    """A model file, ``model.yaml``, of which only the tokenizer and the prompts can be used."""
    make_tokenizer().save_pretrained(directory / "llm")
    config = {
        "encoder_conf": {"config": {"d_model": 12}},
        "llm_conf": {
            "config": {"model_type": "qwen2", "vocab_size": 400},
            "tokenizer": str(directory / "llm"),
        },
        "prompts": "conf/prompts.yaml",
    }
    path = directory / "model.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
