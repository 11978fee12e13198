"""The settings of SenseVoice's encoder."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from espnet_part.model.validation import STRICT

FILES = ("train_config", "model_file", "cmvn_file")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SenseVoiceConf:
    """The encoder of SenseVoiceSmall (An et al. 2024), from the files of its model directory.

    Attributes:
        train_config: its `config.yaml`.
        model_file: its `model.pt`, or safetensors; without one the weights are random.
        cmvn_file: its `am.mvn`, means and scales of features; without one they are as they are.
        language: what the encoder is told before a clip. It was trained with `auto` for a fifth of all.
        use_itn: tell it that written forms (digits, punctuation) are wanted.
    """

    train_config: str
    model_file: str | None = None
    cmvn_file: str | None = None
    language: Literal["auto", "zh", "en", "yue", "ja", "ko", "nospeech"] = "auto"
    use_itn: bool = False


Conf = SenseVoiceConf
