"""A trained model as directories that transformers and others load: encoder, adapter, LLM."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet_part import __version__
from espnet_part.config import dump_yaml
from espnet_part.errors import ConfigError
from espnet_part.files import apply_umask
from espnet_part.model.base import BaseModel, describe_base
from espnet_part.model.build import build_model
from espnet_part.model.config import ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.function import conf_digest
from espnet_part.model.lora import merge_lora
from espnet_part.model.speech_llm import SpeechLLM
from espnet_part.pack.bases import tokenizer_files
from espnet_part.pack.locations import META, PACKED, load_run_config, new_directory
from espnet_part.pack.manifest import KEY, manifest_of
from espnet_part.pack.package import portable_attention, prompts_file
from espnet_part.train.checkpoint import load_trained, save_trained
from espnet_part.versions import MODEL_PACKAGES, installed_versions

ADAPTER = "adapter/adapter.safetensors"
_README = """\
# Exported speech LLM

- `llm/`: the language model{merged}, a directory of transformers
  (`AutoModelForCausalLM.from_pretrained`), with its tokenizer
- `encoder/`: the speech encoder ({encoder})
- `adapter/`: the speech adapter{unmerged}, safetensors, and its sizes
- `config.yaml`, `prompts.yaml`: all of it as one model

```python
from espnet_part.decode import Speech2Text

speech2text = Speech2Text.from_pretrained("this directory")
```
"""


def export(
    config: Path, weights: Path, out: Path, merge_lora: bool = True, dtype: str | None = None
) -> None:
    """Write a trained model's parts, whole or not at all.

    LoRA is merged in float32 (W + alpha / rank * B A; DoRA its lengths too) and rounded to ``dtype`` once. In
    float32 the merged model gives the tokens of the unmerged one; in bfloat16 the rounding of an
    update that is small beside its weight may change a few.

    Args:
        config: config.yaml of the training. weights: what it trained.
        out: the directory to write; must not exist, or be empty.
        merge_lora: put LoRA into the LLM's weights; without, it stays beside the adapter.
        dtype: float32 or bfloat16 of the LLM; by default the training's.

    Raises:
        ConfigError, DataError: the model cannot be loaded, or ``out`` holds something.
    """
    model_config = load_config(config)
    quantized = model_config.llm_conf.quantization is not None
    if quantized and not merge_lora:
        raise ConfigError(
            "merge_lora: false: the LLM was trained in 4 bits (llm_conf: quantization), and becomes an "
            "ordinary one only with its LoRA merged"
        )
    with new_directory(out) as aside:
        model = load_model(model_config, weights)
        if quantized:  # what is written is of ordinary weights
            plain = dataclasses.replace(model_config.llm_conf, quantization=None)
            model.function = {**model.function, "llm": conf_digest("llm", plain)}
        _write(model, model_config, aside, merge_lora, dtype or model_config.llm_conf.dtype)


def load_config(config: Path) -> ModelConfig:
    """The configuration of a model to be exported.

    Raises:
        ConfigError: it is wrong, or names no prompts.
    """
    model_config = ModelConfig.from_mapping(load_run_config(config), str(config))
    if model_config.prompts is None:
        raise ConfigError(f"{config}: the key `prompts` is missing")
    return model_config


def load_model(config: ModelConfig, weights: Path) -> SpeechLLM:
    """A model with what was trained of it.

    Raises:
        ConfigError, DataError: it cannot be loaded.
    """
    model = build_model(config)
    load_trained(model, weights)
    return model


def _write(model: SpeechLLM, config: ModelConfig, out: Path, merge: bool, dtype: str) -> None:
    has_lora = config.lora_conf is not None
    merged = merge and (has_lora or config.llm_conf.quantization is not None)
    names = [name for name, _ in model.adapter.named_parameters(prefix="adapter")]
    if merged:
        count = merge_lora(model.llm.model, getattr(torch, dtype))
        logging.info("merged LoRA into %d weights, in float32, then cast to %s", count, dtype)
        _save_llm(model.llm.model, config, out / "llm")
    else:
        lora = {n: p for n, p in model.llm.model.named_parameters() if ".lora_" in n}
        names += [f"llm.model.{name}" for name in lora]
        _save_llm(_without_lora(model, config, getattr(torch, dtype)), config, out / "llm")
    llm_base = _relative(describe_base("llm", str(out / "llm"), None, None), "./llm")
    (out / "encoder").mkdir()
    packing = ENCODERS.packing(config.encoder)
    encoder = packing.export(model.encoder, config.encoder_conf, out / "encoder").placed("encoder")

    (out / "adapter").mkdir()
    adapter = dataclasses.asdict(config.speech_adapter_conf)
    sizes = {"encoder_dim": model.encoder.dim, "llm_dim": model.llm.dim}
    (out / "adapter/adapter.yaml").write_text(
        dump_yaml(
            {"speech_adapter": config.speech_adapter, "speech_adapter_conf": adapter, **sizes}
        ),
        encoding="utf-8",
    )
    model.encoder.base, model.llm.base = encoder.base, llm_base
    save_trained(out / ADAPTER, model, names, {"exported": True})

    llm_conf = {"name": "./llm", "dtype": dtype, "attention": config.llm_conf.attention}
    llm_conf = portable_attention(llm_conf)
    values: dict[str, Any] = {
        PACKED: f"espnet_part {__version__}",
        "encoder": config.encoder,
        "encoder_conf": encoder.conf,
        "speech_adapter": config.speech_adapter,
        "speech_adapter_conf": adapter,
        "llm_conf": llm_conf,
        "prompts": "./prompts.yaml",
    }
    if config.lora_conf is not None and not merged:
        values["lora_conf"] = dataclasses.asdict(config.lora_conf)
    (out / "config.yaml").write_text(dump_yaml(values), encoding="utf-8")
    (out / "prompts.yaml").write_bytes(prompts_file(Path(config.prompts or "")))
    (out / "README.md").write_text(
        _README.format(
            encoder=encoder.source,
            merged=" with LoRA merged" if merged and has_lora else "",
            unmerged=" and the LLM's LoRA" if has_lora and not merged else "",
        ),
        encoding="utf-8",
    )
    meta = {
        "yaml_files": {"part_train_config": "config.yaml"},
        "files": {"part_model_file": ADAPTER},
        **installed_versions(MODEL_PACKAGES),
        KEY: manifest_of({str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file()}),
    }
    (out / META).write_text(dump_yaml(meta), encoding="utf-8")


def _without_lora(model: SpeechLLM, config: ModelConfig, dtype: torch.dtype) -> nn.Module:
    """The LLM with its base weights as they are now, LoRA taken out."""
    from transformers import AutoModelForCausalLM

    state = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.llm.model.state_dict().items()
        if ".lora_" not in name
    }
    plain = AutoModelForCausalLM.from_config(model.llm.model.config, trust_remote_code=False)
    plain.load_state_dict(state)
    plain.generation_config = model.llm.model.generation_config
    return plain.to(dtype)


def save_causal_lm(model: Any, directory: Path) -> None:
    """Write a causal LM of transformers without its tokenizer: configuration and weights."""
    model.config.dtype = next(model.parameters()).dtype
    model.save_pretrained(directory)
    for weights in directory.glob("*.safetensors"):
        apply_umask(weights)


def _save_llm(model: Any, config: ModelConfig, directory: Path) -> None:
    from espnet_part.model.base import find_file

    save_causal_lm(model, directory)
    conf = config.llm_conf
    for name, source in tokenizer_files(conf).items():
        if Path(name).name != "config.json":
            shutil.copyfile(source, directory / Path(name).name)
    # its settings are switched off in training, but the end tokens in it count
    generation = None
    if conf.name is not None:
        generation = find_file(conf.name, conf.revision, "generation_config.json")
    (directory / "generation_config.json").unlink(missing_ok=True)
    if generation is not None:
        shutil.copyfile(generation, directory / "generation_config.json")


def _relative(base: BaseModel, name: str) -> BaseModel:
    return dataclasses.replace(base, name=name)
