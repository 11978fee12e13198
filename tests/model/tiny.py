"""Tiny random models and batches for the tests."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from espnet_part.model.build import build_model
from espnet_part.model.config import ModelConfig
from espnet_part.model.speech_llm import SpeechLLM

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="needs bitsandbytes: tools/setup.sh --extras qlora",
)
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "dropout": 0.0,
}
QWEN2 = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": None,
}
TRANSFORMER = {"dim": 16, "heads": 2, "ff": 32, "layers": 2, "dropout": 0.0}
LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]}


def speak_up(model: torch.nn.Module, loud: bool = True) -> None:
    """Let a random model's LoRA change tokens and, where ``loud``, its clips lead to different ones."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.normal_(std=0.3)
            elif loud and name.startswith("encoder.") and parameter.ndim > 1:
                parameter.mul_(8)


def mapping(**changes: Any) -> dict[str, Any]:
    """The mapping of a tiny model's configuration."""
    values: dict[str, Any] = {
        "encoder": "whisper",
        "encoder_conf": {"config": WHISPER},
        "speech_adapter": "transformer_cnn",
        "speech_adapter_conf": TRANSFORMER,
        "llm_conf": {"config": QWEN2, "dtype": "float32"},
        "lora_conf": LORA,
    }
    return {**values, **changes}


def make_config(**changes: Any) -> ModelConfig:
    """A tiny model's configuration."""
    return ModelConfig.from_mapping(mapping(**changes), "test")


def make_model(seed: int = 0, **changes: Any) -> SpeechLLM:
    """A tiny model in evaluation mode, whose LoRA does something."""
    torch.manual_seed(seed)
    model = build_model(make_config(**changes)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    # random weights at their usual scale hardly look at the input; these do
    for name, parameter in model.llm.named_parameters():
        if parameter.dim() == 2 and "lora" not in name:
            parameter.data.mul_(6)
    return model


def make_batch(clips: list[list[int]], seed: int = 0, labelled: bool = True) -> dict[str, Tensor]:
    """A batch with one row for each list of clip lengths (in samples)."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(clips)
    lengths = torch.randint(6, 12, (rows,), generator=generator)
    longest = int(lengths.max())
    input_ids = torch.randint(2, 97, (rows, longest), generator=generator)
    labels = torch.full_like(input_ids, -100)
    for row, length in enumerate(lengths):
        input_ids[row, length:] = 1
        if labelled:
            labels[row, 4:length] = input_ids[row, 4:length]
    batch = {"input_ids": input_ids, "input_lengths": lengths, "labels": labels}
    flat = [(row, samples) for row, row_clips in enumerate(clips) for samples in row_clips]
    if flat:
        speech = torch.zeros(len(flat), max(samples for _, samples in flat))
        for i, (_, samples) in enumerate(flat):
            speech[i, :samples] = torch.randn(samples, generator=generator) * 0.1
        batch |= {
            "speech": speech,
            "speech_lengths": torch.tensor([samples for _, samples in flat]),
            "speech_row": torch.tensor([row for row, _ in flat]),
            "speech_position": torch.full((len(flat),), 2),
        }
    return batch


def take_row(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """One row of a batch, without its padding."""
    length = batch["input_lengths"][row]
    one = {
        "input_ids": batch["input_ids"][row : row + 1, :length],
        "input_lengths": length[None],
        "labels": batch["labels"][row : row + 1, :length],
    }
    if "speech" in batch:
        mine = batch["speech_row"] == row
        if mine.any():
            samples = batch["speech_lengths"][mine]
            one |= {
                "speech": batch["speech"][mine][:, : samples.max()],
                "speech_lengths": samples,
                "speech_row": torch.zeros_like(batch["speech_row"][mine]),
                "speech_position": batch["speech_position"][mine],
            }
    return one


@functools.cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE whose é is two tokens of a byte each."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted({*"abc", "Ġ", *pre_tokenizers.ByteLevel.alphabet()})
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(["abc abc cab bca", "ab cab abc"] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe)
