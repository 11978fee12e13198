"""The settings of a Whisper encoder."""

from __future__ import annotations

from typing import Any

from pydantic.dataclasses import dataclass

from espnet_part.errors import did_you_mean
from espnet_part.model.validation import STRICT, divides, exactly_one

#: The settings of a Whisper encoder made from a config (transformers' names and defaults).
WHISPER_CONFIG_KEYS = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "activation_function",
    "init_std",
)

#: Of ESPnet's SpecAug.
SPECAUG_KEYS = (
    *("apply_time_warp", "time_warp_window", "time_warp_mode"),
    *("apply_freq_mask", "freq_mask_width_range", "num_freq_mask"),
    *("apply_time_mask", "time_mask_width_range", "time_mask_width_ratio_range", "num_time_mask"),
)

MODELS = ("name",)
#: The sinusoidal positions, which its authors froze by design.
PROTECTED = ("embed_positions",)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WhisperEncoderConf:
    """A Whisper encoder, from pretrained weights or from sizes.

    Attributes:
        name: hub name or local directory of a Whisper model or of its encoder alone.
        revision: the hub's revision (a commit, for runs to be repeated).
        config: `WhisperConfig` keywords; the weights are then random.
        pad_to_30s: encode every clip inside 30 s of silence, the condition of the pretraining.
        silence: seconds of silence that are computed behind each clip and cut off again. Pretraining saw
            clips within 30 s: the states of a clip of half a second differ much without any, and two
            seconds take away half of that at a small cost.
        specaug_conf: options of ESPnet's SpecAug (num_freq_mask, num_time_mask, …), which then masks the
            spectrogram wherever a phase trains the encoder; a frozen one hears all, as its kept states do.
        gradient_checkpointing: recompute the layers in the backward pass to save memory.
    """

    name: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    pad_to_30s: bool = False
    silence: float = 0.0
    specaug_conf: dict[str, Any] | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        exactly_one(self.name, self.config)
        for key in self.specaug_conf or {}:
            if key not in SPECAUG_KEYS:
                raise ValueError(did_you_mean(key, SPECAUG_KEYS, f"specaug_conf.{key}"))
        if not 0 <= self.silence <= 30:
            raise ValueError(f"`silence` must be between 0 and 30 seconds: {self.silence}")
        if self.silence and self.pad_to_30s:
            raise ValueError("`pad_to_30s` leaves no room for `silence`: give one of them")
        if self.config is not None:
            for key in self.config:
                if key not in WHISPER_CONFIG_KEYS:
                    raise ValueError(did_you_mean(key, WHISPER_CONFIG_KEYS, f"config.{key}"))
            for key in WHISPER_CONFIG_KEYS[:6]:
                value = self.config.get(key, 1)
                if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                    raise ValueError(f"`config.{key}` must be a positive whole number: {value!r}")
            divides(
                self.config.get("encoder_attention_heads", 6),
                self.config.get("d_model", 384),
                "config.encoder_attention_heads",
                "config.d_model",
            )


Conf = WhisperEncoderConf
