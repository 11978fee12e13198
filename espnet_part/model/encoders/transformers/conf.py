"""The settings of an audio encoder of transformers."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic.dataclasses import dataclass

from espnet_part.model.base import find_file
from espnet_part.model.validation import STRICT, exactly_one
from espnet_part.parsing import read_json_object

MODELS = ("name",)
PREPROCESSOR = "preprocessor_config.json"
#: Qwen2-Audio's sinusoidal positions, which it has from Whisper.
PROTECTED = ("model.embed_positions",)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TransformersEncoderConf:
    """An audio encoder of transformers, from pretrained weights or from sizes.

    Attributes:
        name: hub name or local directory of the encoder, or of a model that contains it (with a CTC
            head, or a speech LLM).
        revision: the hub's revision.
        config: `model_type` and the keywords of its config class; the weights are then random.
        normalize: bring each waveform to zero mean and unit variance, of encoders that read
            waveforms; by default as the model's preprocessor_config.json says, or true.
        gradient_checkpointing: recompute the layers in the backward pass to save memory.
    """

    name: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    normalize: bool | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        exactly_one(self.name, self.config)
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("`config.model_type` is missing (for example wav2vec2)")

    def normalizes(self) -> bool:
        """Whether waveforms are normalised, by this setting or by the model's own file.

        Raises:
            ConfigError: the model's file cannot be read.
        """
        if self.normalize is not None:
            return self.normalize
        path = find_file(self.name, self.revision, PREPROCESSOR) if self.name is not None else None
        return bool(read_json_object(path).get("do_normalize", True)) if path else True

    def resolved(self) -> TransformersEncoderConf:
        """See `espnet_part.model.kinds.ConfPart`."""
        return dataclasses.replace(self, normalize=None if self.normalizes() else False)


Conf = TransformersEncoderConf
