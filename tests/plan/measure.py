"""A small model, what a phase trains of it, a batch, and what torch measures."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from espnet_part.model.build import build_model
from espnet_part.model.config import ModelConfig
from espnet_part.model.speech_llm import SpeechLLM
from espnet_part.plan.batch import Batch
from espnet_part.plan.operations import Model
from espnet_part.schedule.activation import activate
from espnet_part.schedule.selectors import select
from espnet_part.train.precision import hold_in_float32, masters
from tests.model.tiny import LORA, QWEN2, make_batch, make_config

WHISPER = {
    "d_model": 64,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 256,
    "num_mel_bins": 80,
    "dropout": 0.0,
}
LLM = {**QWEN2, "hidden_size": 96, "intermediate_size": 200}
ADAPTER = {"dim": 80, "heads": 2, "ff": 160, "layers": 1, "dropout": 0.0}

QFORMER: dict[str, Any] = {
    "speech_adapter": "qformer",
    "speech_adapter_conf": {
        **{"window": 9, "queries": 2, "dim": 80, "heads": 2, "ff": 160, "dropout": 0.0}
    },
}
MOE: dict[str, Any] = {
    "speech_adapter": "moe",
    "speech_adapter_conf": {"stack": 2, "experts": 3, "hidden": 150},
}

PHASES = {
    "adapter": ["adapter"],
    "encoder_top": ["adapter", "encoder.layers[-1:]"],
    "encoder_all": ["adapter", "encoder"],
    "joint": ["adapter", "encoder", "llm.lora"],
    "llm": ["adapter", "llm"],
    "llm_top": ["adapter", "llm.model.model.layers[-1:]"],
}


def small_config(checkpointing: bool = False, **changes: Any) -> ModelConfig:
    llm = {**LLM, **changes.pop("llm", {})}
    values = {
        "encoder_conf": {"config": WHISPER, "gradient_checkpointing": checkpointing},
        "speech_adapter_conf": ADAPTER,
        "llm_conf": {"config": llm, "dtype": "bfloat16", "gradient_checkpointing": checkpointing},
        "lora_conf": LORA,
    }
    return make_config(**{**values, **changes})


def small_model(cfg: ModelConfig, phase: str) -> tuple[SpeechLLM, set[str]]:
    """The model with its phase activated, its precision as in training, and the names of what trains."""
    torch.manual_seed(0)
    model = build_model(cfg)
    names = [name for name, _ in model.named_parameters()]
    trained = {name for s in PHASES[phase] for name in select(s, names, model.protected)}
    activate(model, trained)
    hold_in_float32(model, masters(model, trained, amp=True))
    return model, trained


def small_batch(samples: list[int], model: Model | None = None) -> tuple[dict[str, Tensor], Batch]:
    """A batch of one clip a row, and its description (of a model with another adapter)."""
    batch = make_batch([[count] for count in samples])
    states = [math.ceil(count / 320) for count in samples]
    spoken = [model.rates.adapted(n) if model else math.ceil(n / 2) for n in states]
    lengths = [int(n) + f for n, f in zip(batch["input_lengths"], spoken, strict=True)]
    return batch, Batch(
        clips=len(samples),
        frames=max(states),
        adapted=max(spoken),
        rows=len(samples),
        length=max(lengths),
        labels=int((batch["labels"] != -100).sum()),
    )


def measured_saved_bytes(model: SpeechLLM, batch: dict[str, Tensor]) -> int:
    """Bytes of the storages that autograd keeps for the backward pass, the model's own left out."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # alive: no address comes twice
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        output = model(**batch)
    assert output.loss.requires_grad
    return sum(size for size, _ in kept.values())
