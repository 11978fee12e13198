"""A speech LLM and data of a few kilobytes, in the real formats, for tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from espnet_part.data.datadir import DataDir, Example

WORDS = {
    "de": ["der", "hund", "sieht", "eine", "katze", "und", "das", "haus", "ist", "alt"],
    "en": ["the", "dog", "sees", "a", "cat", "and", "the", "house", "is", "old"],
}
PROMPTS = {
    "asr": {"en": ["{speech} Transcribe the {lang} speech.", "{speech} Write down the {lang}."]},
    "s2tt": {"en": ["{speech} Translate the {lang} speech into {tgt}."]},
    "t2tt": {"en": ["Translate from {lang} into {tgt}: {source}"]},
}


def make_tokenizer(directory: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(words) for words in WORDS.values()], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.save_pretrained(directory)
    return directory


def model_config(directory: Path, **changes: Any) -> dict[str, Any]:
    """A model file's content; the base models have random weights that depend on the seed."""
    config: dict[str, Any] = {
        "encoder": "whisper",
        "encoder_conf": {
            "config": {
                "d_model": 16,
                "encoder_layers": 3,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "num_mel_bins": 16,
            }
        },
        "speech_adapter": "linear",
        "speech_adapter_conf": {"stack": 4, "hidden": 16},
        "llm_conf": {
            "config": {
                "model_type": "qwen2",
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "intermediate_size": 32,
                "vocab_size": 320,
                "max_position_embeddings": 256,
            },
            "tokenizer": str(make_tokenizer(directory / "tokenizer")),
            "dtype": "float32",
        },
        "lora_conf": {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]},
        "prompts": str(directory / "prompts.yaml"),
    }
    (directory / "prompts.yaml").write_text(yaml.safe_dump(PROMPTS), encoding="utf-8")
    return {**config, **changes}


def make_data(directory: Path, count: int, seed: int) -> Path:
    """``count`` utterances a language, each as ASR and S2TT, and as many texts."""
    rng = np.random.default_rng(seed)
    (directory / "wav").mkdir(parents=True, exist_ok=True)
    examples = []
    for lang, other in (("de", "en"), ("en", "de")):
        for number in range(count):
            picked = rng.integers(0, 10, rng.integers(2, 6))
            text, translation = (" ".join(WORDS[x][i] for i in picked) for x in (lang, other))
            samples = int(rng.integers(4000, 12000))
            path = directory / "wav" / f"{lang}{number:03d}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(samples), 16000)
            utt = f"{directory.name}-{lang}{number:03d}"
            heard: dict[str, Any] = {"audio": str(path), "num_samples": samples}
            examples += [
                Example(f"{utt}-asr", "asr", lang, lang, text, **heard),
                Example(f"{utt}-s2tt", "s2tt", lang, other, translation, **heard),
                Example(f"{utt}-t2tt", "t2tt", lang, other, translation, src_text=text),
            ]
    DataDir.write(directory, examples)
    return directory


def stage(phases: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """A stage file's content."""
    return {
        "optim": "adamw",
        "optim_conf": {"lr": 1e-3},
        "scheduler": "warmuplr",
        "scheduler_conf": {"warmup_steps": 3},
        "batch_type": "unsorted",
        "batch_size": 4,
        "grad_clip": 1.0,
        "num_workers": 0,
        "num_iters_per_epoch": 4,
        "keep_nbest_models": 2,
        "use_tensorboard": False,
        "use_matplotlib": False,
        "best_model_criterion": [["valid", "acc", "max"]],
        **options,
        "phases": phases,
    }


ADAPTER = {"name": "adapter", "train": ["adapter"], "lr": {"adapter": 1e-2}, "tasks": ["asr"]}
TOP = {
    "name": "top",
    "train": ["adapter", "encoder.layers[-1:]"],
    "lr": {"adapter": 5e-3, "encoder": 1e-3},
    "tasks": ["asr"],
}
JOINT = {
    "name": "joint",
    "train": ["adapter", "encoder", "llm.lora"],
    "lr": {"adapter": 5e-3, "encoder": 1e-3, "llm": 5e-3},
    "tasks": {"asr": 1, "s2tt": 1, "t2tt": 1},
}
LORA_ONLY = {"name": "lora", "train": ["llm.lora"], "lr": {"llm": 5e-3}, "tasks": ["asr"]}


class Workspace:
    """A directory with a model, data and stages, and `part_train` on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("model.yaml", model_config(root))
        make_data(root / "train", 6, seed=1)
        make_data(root / "valid", 2, seed=2)

    def write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.root / name
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def command(self, stage_file: str, output: str, *more: str) -> list[str]:
        """The arguments of part_train."""
        return [
            *("--config", str(self.root / stage_file)),
            *("--model_config", str(self.root / "model.yaml")),
            *("--train_data_dir", str(self.root / "train")),
            *("--valid_data_dir", str(self.root / "valid")),
            *("--output_dir", str(self.root / output)),
            *("--ngpu", "0", "--resume", "true"),
            *more,
        ]
