"""A trained model as a directory that vLLM serves (see `espnet_part.vllm`)."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from espnet_part.config import load_yaml
from espnet_part.errors import ConfigError
from espnet_part.files import apply_umask
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.base import check_weights
from espnet_part.model.config import ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.lora import merge_lora
from espnet_part.model.speech_llm import SpeechLLM
from espnet_part.model.tokenizer import load_tokenizer
from espnet_part.pack.export import load_config, load_model, save_causal_lm
from espnet_part.pack.locations import new_directory
from espnet_part.vllm import VLLM
from espnet_part.vllm.config import ARCHITECTURE, SPEECH_TOKEN, PartConfig
from espnet_part.vllm.speech import Speech, weights_of

#: Most tokens of an answer unless a request says so: what decoding allows for 30 s, vLLM's longest clip.
LONGEST_ANSWER = 760
_README = """\
# A speech LLM for vLLM {vllm}

```bash
vllm serve . --dtype {dtype}
curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@speech.wav -F model=. -F language=de
```

vLLM's environment needs espnet_part, whose plugin knows the architecture.
"""


def export_for_vllm(config: Path, weights: Path, out: Path, dtype: str | None = None) -> None:
    """Write a trained model for vLLM, LoRA merged, whole or not at all.

    Args:
        config: config.yaml of the training. weights: what it trained.
        out: the directory to write; must not exist, or be empty.
        dtype: float32 or bfloat16 of the LLM; by default the training's. Encoder and adapter are in
            float32.

    Raises:
        ConfigError, DataError: the model cannot be loaded, vLLM cannot have its encoder or adapter, or
            ``out`` holds something.
    """
    model_config = load_config(config)
    _check_kinds(model_config, config)
    with new_directory(out) as aside:
        model = load_model(model_config, weights)
        _write(model, model_config, aside, dtype or model_config.llm_conf.dtype)


def _check_kinds(config: ModelConfig, where: Path) -> None:
    """Say before anything is loaded that a kind does not declare what vLLM needs."""
    if not hasattr(ENCODERS.packing(config.encoder), "without_files"):
        raise ConfigError(
            f"{where}: encoder: the kind {config.encoder} cannot be exported for vLLM: it needs files or"
            " a library that vLLM's environment does not have (its packing declares no without_files)"
        )
    if not ADAPTERS.conf(config.speech_adapter).EXACT_LENGTHS:
        raise ConfigError(
            f"{where}: speech_adapter: the kind {config.speech_adapter} cannot be exported for vLLM, which"
            " must know the number of a clip's embeddings beforehand (its conf declares no EXACT_LENGTHS)"
        )


def _write(model: SpeechLLM, config: ModelConfig, out: Path, dtype: str) -> None:
    tokenizer = load_tokenizer(config.llm_conf)
    if not tokenizer.add_tokens([SPEECH_TOKEN], special_tokens=True):
        raise ConfigError(f"{tokenizer.name_or_path}: {SPEECH_TOKEN} is a token of the LLM's own")
    tokenizer.save_pretrained(out)
    count = merge_lora(model.llm.model, getattr(torch, dtype))
    logging.info("merged LoRA into %d weights, in float32, then cast to %s", count, dtype)
    index: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=out) as room:
        save_causal_lm(model.llm.model, Path(room))
        text_config = json.loads((Path(room) / "config.json").read_text(encoding="utf-8"))
        shards = sorted(Path(room).glob("*.safetensors"))
        for number, shard in enumerate(shards, 1):
            tensors = {f"language_model.{n}": t for n, t in load_file(shard).items()}
            index |= _save(tensors, out / f"llm-{number:05d}.safetensors")
    packing = ENCODERS.packing(config.encoder)
    part_config = PartConfig(
        text_config=text_config,
        encoder=config.encoder,
        encoder_conf=packing.without_files(model.encoder, config.encoder_conf),
        speech_adapter=config.speech_adapter,
        speech_adapter_conf=dataclasses.asdict(config.speech_adapter_conf),
        prompts=load_yaml(config.prompts or ""),
        speech_token_id=tokenizer.convert_tokens_to_ids(SPEECH_TOKEN),
        architectures=[ARCHITECTURE],
        dtype=dtype,
    )
    own = weights_of(nn.ModuleDict({"encoder": model.encoder, "adapter": model.adapter}))
    # as vLLM will build them, from the configuration alone
    check_weights(weights_of(Speech.sizes(part_config)), own, "encoder and adapter for vLLM")
    tensors = {f"speech.{name}": tensor for name, tensor in own.items()}
    index |= _save(tensors, out / "speech.safetensors")
    _write_json(out / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    part_config.save_pretrained(out)
    generation = {
        "eos_token_id": model.llm.end_token_ids,
        "max_new_tokens": LONGEST_ANSWER,
        "temperature": 0.0,
    }
    _write_json(out / "generation_config.json", generation)
    (out / "README.md").write_text(_README.format(vllm=VLLM, dtype=dtype), encoding="utf-8")


def _save(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, str]:
    """Write weights; the file's name by each of theirs."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, path, {"format": "pt"})
    apply_umask(path)
    return dict.fromkeys(whole, path.name)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
