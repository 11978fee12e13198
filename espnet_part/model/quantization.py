"""An LLM's matrices in 4 bits (QLoRA, Dettmers et al. 2023), by bitsandbytes through transformers."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from typing import Any, cast

import torch
from torch import nn

from espnet_part.errors import ConfigError


@functools.cache
def load_bitsandbytes() -> bool:
    """Import bitsandbytes as PEFT does, where it is installed, and say whether it is.

    On CPUs with AVX-512 for bfloat16 it would fetch a compiled kernel of the hub, and run it, where the
    package `kernels` is installed. It goes without.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        return False
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # says what it lacks
    before = {name: sys.modules[name] for name in ("kernels",) if name in sys.modules}
    sys.modules["kernels"] = None  # type: ignore[assignment] # Python's sign for: not to be imported
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del sys.modules["kernels"]
        sys.modules.update(before)
    return True


def four_bits(dtype: str) -> Any:
    """What transformers loads an LLM with: NF4, constants quantised again, products in ``dtype``.

    Embeddings, norms and the output layer stay as they are.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    if not load_bitsandbytes():
        raise ConfigError(
            "llm_conf: quantization: needs bitsandbytes: pip install 'espnet_part[qlora]'"
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def let_gradients_through(model: nn.Module) -> None:
    """Keep 4-bit weights in the form through which gradients go.

    On some CPUs bitsandbytes changes them, at the first pass without a gradient, into one that has none.
    """
    for layer in filter(is_quantized, model.modules()):
        cast(Any, layer).support_avx512bf16_for_cpu = False


def is_quantized(layer: nn.Module) -> bool:
    """Whether it is a linear layer whose weight is in 4 bits."""
    return type(layer).__name__ == "Linear4bit" and hasattr(layer, "compute_dtype")


def weight_of(layer: nn.Module) -> torch.Tensor:
    """A linear layer's weight in float32, whatever it is held in."""
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(cast(torch.nn.Linear, layer)).float()


def with_weight(layer: nn.Module, weight: torch.Tensor) -> nn.Linear:
    """An ordinary linear layer with that weight, (out, in), and the bias of ``layer``."""
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    plain.weight = nn.Parameter(weight, False)
    plain.bias = cast(Any, layer).bias
    return plain


def dequantize(model: Any) -> None:
    """Hold an LLM of transformers in ordinary weights, as they are after quantization, in place."""
    for name, layer in list(model.named_modules()):
        if is_quantized(layer):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, with_weight(layer, weight_of(layer)))
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer.remove_quantization_config(model)
        model.is_loaded_in_4bit = False  # what casts and PEFT look at
