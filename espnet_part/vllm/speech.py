"""Encoder and adapter of an exported model, and how many embeddings they make of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from espnet_part.config import build
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.base import check_weights
from espnet_part.model.build import build_adapter, build_encoder
from espnet_part.model.encoders import ENCODERS
from espnet_part.vllm.config import PartConfig


class Speech(nn.Module):
    """Waveforms to embeddings for the LLM; its weights are named as in training.

    Args:
        config: of the model.
    """

    def __init__(self, config: PartConfig) -> None:
        super().__init__()
        encoder_class = ENCODERS.conf(config.encoder).Conf
        encoder_conf = build(encoder_class, config.encoder_conf, "config.json: encoder_conf")
        adapter_class = ADAPTERS.conf(config.speech_adapter).Conf
        where = "config.json: speech_adapter_conf"
        adapter_conf = build(adapter_class, config.speech_adapter_conf, where)
        self.encoder = build_encoder(config.encoder, encoder_conf, load_weights=False)
        llm_dim: Any = config.text_config.hidden_size
        self.adapter = build_adapter(config.speech_adapter, adapter_conf, self.encoder.dim, llm_dim)

    @classmethod
    def sizes(cls, config: PartConfig) -> Speech:
        """One without memory for weights, which counts embeddings."""
        with torch.device("meta"):
            return cls(config)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights, as `weights_of` gives them.

        Raises:
            ConfigError: some are missing, or have another shape.
        """
        check_weights(weights_of(self), weights, "the exported model")
        self.load_state_dict(weights, strict=False)  # a tensor with two names is loaded by one

    def count(self, samples: int) -> int:
        """Embeddings of a clip of so many samples."""
        states = self.encoder.output_lengths(torch.tensor([samples], device="cpu"))
        return int(self.adapter.output_lengths(states)[0])

    def forward(self, clips: list[Tensor]) -> list[Tensor]:
        """Encode (samples,) waveforms of 16 kHz: (T, dim) embeddings of each."""
        lengths = torch.tensor([len(clip) for clip in clips], device=clips[0].device)
        states = self.encoder(pad_sequence(clips, batch_first=True), lengths)
        embeddings, lengths = self.adapter(*states)
        return [row[:length] for row, length in zip(embeddings, lengths.tolist(), strict=True)]


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, a tensor that has two names by the first of them."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        first.setdefault(id(tensor), (name, tensor))
    return dict(first.values())
