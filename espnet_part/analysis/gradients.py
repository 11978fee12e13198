"""Gradients of the loss by module, batch by batch, and their inner products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_part.analysis.representations import blocks_of
from espnet_part.analysis.sketch import Sketch
from espnet_part.data.audio import BadAudio
from espnet_part.data.collate import Batch, collate, make_row
from espnet_part.data.datadir import Example
from espnet_part.errors import ConfigError
from espnet_part.train.step import to_device

#: Places of a sketch: with fewer, a cosine is uncertain by more than 0.02.
SMALLEST_SKETCH = 4096


@dataclass(frozen=True)
class Gram:
    """Inner products of gradients.

    Attributes:
        products: by module, (N, N) float64 over the batches.
        loss: (N,) nats a target token.
        sketched: places of the sketch by module; 0 where the products are exact.
    """

    products: dict[str, np.ndarray]
    loss: np.ndarray
    sketched: dict[str, int]


def modules_of(model: Any) -> dict[str, list[str]]:
    """The parameters that PART trains, by module: adapter, each encoder block, LoRA.

    What the encoder has outside its blocks is one module, "encoder (rest)". The LLM's base weights and
    what an encoder protects (a table of positions) are left out: no schedule of PART trains them.
    """
    modules: dict[str, list[str]] = {}
    blocks = list(blocks_of(model.encoder, "encoder"))
    protected = tuple(name for name in model.protected if name.startswith("encoder."))
    for name, _ in model.named_parameters():
        if name.startswith("adapter."):
            modules.setdefault("adapter", []).append(name)
        elif name.startswith("encoder.") and not name.startswith(protected):
            block = next((b for b in blocks if name.startswith(f"{b}.")), "encoder (rest)")
            modules.setdefault(block, []).append(name)
        elif ".lora_" in name:
            modules.setdefault("llm.lora", []).append(name)
    return modules


def gradient_products(
    model: Any,
    batches: Iterable[Batch],
    count: int,
    memory: float = 2e9,
    seed: int = 0,
) -> Gram:
    """Inner products between the gradients of all batches, by module.

    The loss is the mean over a batch's target tokens, in eval mode (no dropout). The model's parameters
    come back frozen. Beside one gradient of the model, at most ``memory`` bytes of gradients are kept:
    what is larger is kept as a `Sketch`.

    Args:
        model: a `SpeechLLM`.
        batches: of `espnet_part.data.collate.collate`, on any device. count: how many there are.
        memory: bytes.
        seed: of the sketches.

    Raises:
        ConfigError: too little memory for sketches that say something.
    """
    modules = modules_of(model)
    parameters = dict(model.named_parameters())
    sizes = {m: sum(parameters[n].numel() for n in names) for m, names in modules.items()}
    room = int(memory / (4 * max(count, 1) * len(modules)))  # numbers of one module of one batch
    if room < min(SMALLEST_SKETCH, *sizes.values()):
        least = 4 * count * len(modules) * SMALLEST_SKETCH / 1e9
        raise ConfigError(
            f"{memory / 1e9:g} GB are too little for the gradients of {count} batches: at least {least:.2g}"
        )
    sketches = {
        module: None if size <= room else Sketch(room, seed + number)
        for number, (module, size) in enumerate(sizes.items())
    }
    model.requires_grad_(False)
    model.eval()
    chosen = [parameters[name] for names in modules.values() for name in names]
    vectors: dict[str, list[Tensor]] = {module: [] for module in modules}
    losses = []
    device = next(model.parameters()).device
    try:
        for parameter in chosen:
            parameter.requires_grad_(True)
        for batch in batches:
            output = model(**to_device(batch, device))
            loss = output.loss / output.row_tokens.sum()
            found = torch.autograd.grad(loss, chosen, allow_unused=True)
            gradients = iter(found)
            losses.append(float(loss.detach()))
            for module, names in modules.items():
                flat = torch.cat([_flat(next(gradients), parameters[name]) for name in names])
                sketch = sketches[module]
                vectors[module].append((sketch(flat) if sketch else flat).cpu())
    finally:
        model.requires_grad_(False)
    return Gram(
        {module: _products(found) for module, found in vectors.items()},
        np.array(losses),
        {module: sketch.size if sketch else 0 for module, sketch in sketches.items()},
    )


def training_batch(
    examples: Sequence[Example], prompts: Any, chat: Any
) -> tuple[Batch, list[tuple[str, str]]]:
    """A batch with answers, as in training; and (utterance, reason) of what cannot be read."""
    rows, bad = [], []
    for example in examples:
        try:
            rows.append(make_row(example, prompts, chat))
        except BadAudio as error:
            bad.append((example.utt_id, str(error)))
    return collate(rows, chat.pad_token_id), bad


def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """A gradient as a vector; zeros where the loss does not depend on the parameter."""
    if gradient is None:
        return torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
    return gradient.detach().float().flatten()


def _products(vectors: Sequence[Tensor]) -> np.ndarray:
    """(N, N) in float64, a piece of the vectors at a time."""
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    width = max(1, (1 << 26) // max(len(vectors), 1))
    for start in range(0, len(vectors[0]) if vectors else 0, width):
        part = torch.stack([vector[start : start + width] for vector in vectors]).double()
        total += part @ part.T
    return total.numpy()
