"""Low-rank adaptation of a language model through PEFT: put in, and merged into the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from espnet_part.display import plain
from espnet_part.errors import ConfigError
from espnet_part.model.config import LoRAConf
from espnet_part.model.quantization import (
    dequantize,
    is_quantized,
    load_bitsandbytes,
    weight_of,
    with_weight,
)


def inject_lora(model: nn.Module, conf: LoRAConf) -> None:
    """Put LoRA into the linear modules that ``conf.targets`` names, in place.

    The base weights keep their dtype; LoRA's own are float32, because updates of a usual size
    vanish in bfloat16.

    Raises:
        ConfigError: a target is no linear module of the model (the message lists those there are), or
            none that PEFT adapts.
    """
    load_bitsandbytes()
    from peft import LoraConfig, inject_adapter_in_model

    head = getattr(model, "get_output_embeddings", lambda: None)()
    linear = {
        name
        for name, module in model.named_modules()
        # transformers' Conv1D is GPT-2's linear layer
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
        and module is not head
    }
    for target in conf.targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            names = {name.rpartition(".")[2] for name in linear}
            candidates = sorted(name for name in names if not name.isdigit())
            raise ConfigError(
                f"lora_conf: targets: {target!r} is no linear module of the LLM; "
                f"there are {', '.join(candidates)}"
            )
    peft_conf = LoraConfig(
        r=conf.rank,
        lora_alpha=conf.alpha,  # type: ignore[arg-type] # a float scales as well
        lora_dropout=conf.dropout,
        target_modules=list(conf.targets),
        use_dora=conf.use_dora,
    )
    try:
        inject_adapter_in_model(peft_conf, model)
    except ValueError as error:  # of some families PEFT takes some modules together or not at all
        raise ConfigError(f"lora_conf: targets: {plain(error, 300)}") from None
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(torch.float32)
    for _, layer in _lora_layers(model):
        for magnitude in layer.lora_magnitude_vector.values():
            # PEFT rounds the lengths to the base weights' dtype, so that DoRA would not start as they are
            weight = weight_of(layer.get_base_layer())
            magnitude.weight.data = magnitude.get_weight_norm(weight, 0.0, 1.0)


def merge_lora(model: nn.Module, dtype: torch.dtype) -> int:
    """Merge LoRA into the weights that it adapts, and cast the model to ``dtype``, in place.

    A step of decoding then has a third of the products. The sum is made in float32 and rounded once: in
    float32 it is that of the unmerged model within rounding; in bfloat16 small updates vanish.
    Weights in 4 bits become ordinary ones.

    Returns:
        How many weights were changed.
    """
    found = list(_lora_layers(model))
    for name, layer in found:
        base = layer.get_base_layer()
        if is_quantized(base):
            base = with_weight(base, _sum_of(layer).to(dtype))
        else:
            base.weight = nn.Parameter(base.weight.float(), False)
            layer.merge()
            base.weight = nn.Parameter(base.weight.to(dtype), False)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, base)
    dequantize(model)
    model.to(dtype)
    return len(found)


def _sum_of(layer: Any) -> torch.Tensor:
    """What a layer in 4 bits and its LoRA amount to, in float32; PEFT would round it to 4 bits again."""
    total = weight_of(layer.get_base_layer())
    for name in layer.active_adapters:
        total = total + layer.get_delta_weight(name).float()
        if name in layer.lora_magnitude_vector:  # DoRA
            length = layer.lora_magnitude_vector[name].weight
            total = total * (length / torch.linalg.norm(total, dim=1))[:, None]
    return total


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    load_bitsandbytes()
    from peft.tuners.lora import LoraLayer

    yield from ((n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer))
