"""The settings of an encoder of an ESPnet ASR recipe."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from espnet_part.model.validation import STRICT

FILES = ("train_config", "model_file")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ESPnetEncoderConf:
    """Any encoder of an ESPnet ASR recipe, with its frontend and normalisation.

    Attributes:
        train_config: the `config.yaml` of the training run.
        model_file: its checkpoint (`*.pth`, or safetensors); without one the weights are random.
        batched: encode the clips of a batch together even while the encoder is frozen. Faster, but
            ESPnet's encoders let padding leak into a clip's last frames, so that the output depends
            a little on the batch.
    """

    train_config: str
    model_file: str | None = None
    batched: bool = False


Conf = ESPnetEncoderConf
