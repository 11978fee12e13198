"""What a model makes of an utterance at each of its layers, averaged over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from espnet_part.data.collate import Row
from espnet_part.model.splice import IGNORE, splice

ADAPTER = "adapter"


def blocks_of(module: nn.Module, name: str) -> dict[str, nn.Module]:
    """The blocks of an encoder or an LLM in the order of the forward pass, "encoder.layers.0" first.

    They are the members of its lists of like modules (a ModuleList, or ESPnet's sequence of layers) that
    lie in no other one; the names are those that their parameters begin with.
    """
    lists = {path: m for path, m in module.named_modules() if _is_list_of_blocks(m)}
    outer = [p for p in lists if not any(p.startswith(f"{other}.") for other in lists)]
    return {
        f"{name}.{path}.{number}": block
        for path in outer
        for number, block in enumerate(lists[path].children())
    }


def _is_list_of_blocks(module: nn.Module) -> bool:
    members = list(module.children())
    if not isinstance(module, (nn.ModuleList, nn.Sequential)) or not members:
        return False
    like = len({type(member) for member in members}) == 1
    # a sequence of convolutions or linear layers is one step of the model and no list of blocks
    return like and all(any(True for _ in member.children()) for member in members)


def speech_layers(model: Any) -> list[str]:
    """The names of the layers at which speech is looked at, in order."""
    return [*blocks_of(model.encoder, "encoder"), ADAPTER, *blocks_of(model.llm.model, "llm")]


def text_layers(model: Any) -> list[str]:
    """The layers at which text is looked at: the table of embeddings stands beside the adapter."""
    return [ADAPTER, *blocks_of(model.llm.model, "llm")]


@torch.no_grad()
def speech_states(model: Any, row: Row) -> dict[str, np.ndarray]:
    """An utterance's mean state at each of `speech_layers`.

    Args:
        model: a `SpeechLLM`. row: one utterance, without its answer.

    Returns:
        (dim,) float32 by layer. In the LLM it is the mean over the positions of speech.
    """
    assert row.speech is not None
    device = next(model.parameters()).device
    speech = torch.from_numpy(row.speech)[None].to(device)
    samples = torch.tensor([speech.shape[1]], device=device)
    with _outputs(blocks_of(model.encoder, "encoder")) as heard:
        states, lengths = model.encoder(speech, samples)
    # a block may also see silence behind the clip, which the encoder cuts off at its end
    clip = slice(int(lengths[0]))
    means = {layer: _mean(found, clip) for layer, found in heard.items()}
    adapted, lengths = model.adapter(states, lengths)
    adapted = adapted[:, : int(lengths[0])]
    return {**means, ADAPTER: _mean(adapted), **_llm_states(model, row, adapted)}


@torch.no_grad()
def text_states(model: Any, tokenizer: Any, row: Row, text: str) -> dict[str, np.ndarray]:
    """The same for a text that stands where the speech would stand, at each of `text_layers`."""
    device = next(model.parameters()).device
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    embedded = model.llm.embedding(torch.tensor([ids], device=device))
    return {ADAPTER: _mean(embedded), **_llm_states(model, row, embedded)}


def _llm_states(model: Any, row: Row, inserted: Tensor) -> dict[str, np.ndarray]:
    """Run the LLM on a prompt with something in it, and average over where that is."""
    device, length = inserted.device, inserted.shape[1]
    prefix = len(row.tokens.prefix_ids)
    ids = torch.tensor([row.tokens.prefix_ids + row.tokens.suffix_ids], device=device)
    tokens = model.llm.embedding(ids)
    one = torch.tensor([0], device=device)
    prompt = splice(
        tokens,
        torch.tensor([ids.shape[1]], device=device),
        torch.full_like(ids, IGNORE),
        inserted.to(tokens.dtype),
        torch.tensor([length], device=device),
        one,
        one + prefix,
    )
    with _outputs(blocks_of(model.llm.model, "llm")) as read:
        model.llm.hidden(prompt.embeddings, prompt.mask, prompt.positions)
    place = slice(prefix, prefix + length)
    return {layer: _mean(found, place) for layer, found in read.items()}


@contextmanager
def _outputs(blocks: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the blocks' outputs for one utterance."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            while isinstance(output, tuple):  # ESPnet: ((states, positions), mask)
                output = output[0]
            found[name] = output

        return hook

    handles = [block.register_forward_hook(keep(name)) for name, block in blocks.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _mean(states: Tensor, where: slice = slice(None)) -> np.ndarray:
    """The mean over time of one utterance: (1, T, dim), (T, 1, dim) or (T, dim)."""
    flat: np.ndarray = states.float().reshape(-1, states.shape[-1])[where].mean(dim=0).cpu().numpy()
    return flat


def stacked(
    rows: Sequence[Mapping[str, np.ndarray]], layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """(N, dim) by layer from N utterances."""
    return {layer: np.stack([row[layer] for row in rows]) for layer in layers}
