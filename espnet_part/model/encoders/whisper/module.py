"""Whisper's encoder on true lengths (Radford et al. 2022; weights and layers of transformers).

transformers' own encoder takes exactly 30 s and ignores masks. This one takes waveforms of any
length, computes nothing for padding beyond the batch's longest clip, and gives a clip the same
output whatever it is batched with. On a full 30 s clip it equals transformers' encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import WhisperConfig
from transformers.audio_utils import mel_filter_bank
from transformers.initialization import no_init_weights
from transformers.models.whisper.modeling_whisper import WhisperEncoder as _WhisperEncoder

from espnet_part.display import plain, value
from espnet_part.errors import ConfigError
from espnet_part.model.base import (
    BaseModel,
    check_config,
    check_weights,
    describe_base,
    find_weights,
)
from espnet_part.model.encoders.whisper.conf import PROTECTED, WhisperEncoderConf
from espnet_part.model.masking import attention_mask, cut_padding, zero_padding
from espnet_part.sample_rate import SAMPLE_RATE

HOP = 160  # samples between mel frames: 10 ms
FFT = 400
SAMPLES_PER_FRAME = 2 * HOP  # the second convolution halves the mel frame rate


class LogMel(nn.Module):
    """Whisper's log-mel spectrogram, equal to transformers' WhisperFeatureExtractor.

    Args:
        num_mel_bins: 80, or 128 for large-v3.
        window_samples: length that the extractor pads to (30 s).
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, num_mel_bins: int, window_samples: int) -> None:
        super().__init__()
        self.window_samples = window_samples
        filters = mel_filter_bank(
            num_frequency_bins=1 + FFT // 2,
            num_mel_filters=num_mel_bins,
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("filters", torch.tensor(filters.T, dtype=torch.float32), False)
        self.register_buffer("hann", torch.hann_window(FFT), False)

    def forward(self, speech: Tensor) -> Tensor:
        """Compute log-mel frames.

        Args:
            speech: (S, T) zero-padded waveforms, T <= window_samples.

        Returns:
            (S, bins, frames) float32, frames >= ceil(T / 160). The frames are those that the
            extractor gives for the clip in a whole window.
        """
        # Zeros behind the clip stand for the rest of the window: enough for every STFT frame that
        # reaches into the clip, since the loudest of them sets the floor. At the window's end
        # torch.stft reflects the signal, as it does in the extractor.
        samples = min(self.window_samples, -(-(speech.shape[1] + FFT) // HOP) * HOP)
        with torch.autocast(speech.device.type, enabled=False):
            padded = F.pad(speech.float(), (0, samples - speech.shape[1]))
            hann = self.hann.float()
            spectrum = torch.stft(padded, FFT, HOP, window=hann, return_complex=True)
            power = spectrum[..., :-1].abs() ** 2
            log_mel = (self.filters.float() @ power).clamp(min=1e-10).log10()
            floor = log_mel.amax(dim=(1, 2), keepdim=True) - 8.0
            return (torch.maximum(log_mel, floor) + 4.0) / 4.0


class WhisperEncoder(_WhisperEncoder):
    """Waveforms to encoder states.

    Args:
        config: transformers' WhisperConfig; only the encoder's fields matter.
        pad_to_30s: encode every clip within 30 s of silence, as in Whisper's training; the frames
            beyond the clip's length are cut off afterwards.
        silence: seconds of silence behind each clip, likewise, in place of all 30 s.
        specaug_conf: of ESPnet's SpecAug, for training.
        gradient_checkpointing: recompute each layer in the backward pass.

    Attributes:
        dim: width of a state. layers: the Transformer layers.
    """

    protected = PROTECTED
    layers_run_once = True

    def __init__(
        self,
        config: WhisperConfig,
        pad_to_30s: bool = False,
        silence: float = 0.0,
        specaug_conf: dict[str, Any] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        config._attn_implementation = "sdpa"
        super().__init__(config)
        self.checkpoint_layers = gradient_checkpointing
        self.window_samples = config.max_source_positions * SAMPLES_PER_FRAME
        self.silence = self.window_samples if pad_to_30s else round(silence * SAMPLE_RATE)
        self.log_mel = LogMel(config.num_mel_bins, self.window_samples)
        self.specaug: nn.Module | None = _specaug(specaug_conf) if specaug_conf else None
        self.base: BaseModel | None = None
        self.dim = config.d_model

    @classmethod
    def from_conf(cls, conf: WhisperEncoderConf, load_weights: bool = True) -> WhisperEncoder:
        """Build from a configuration.

        Args:
            load_weights: False leaves the weights random (a checkpoint, or shapes alone, follow).

        Raises:
            ConfigError: no such model, not a Whisper model, weights missing or of another shape.
        """
        options: dict[str, Any] = {
            "pad_to_30s": conf.pad_to_30s,
            "silence": conf.silence,
            "specaug_conf": conf.specaug_conf,
            "gradient_checkpointing": conf.gradient_checkpointing,
        }
        if conf.name is None:
            encoder = cls(WhisperConfig(**(conf.config or {})), **options)
        else:
            config = load_config(conf.name, conf.revision)
            if load_weights:
                with no_init_weights():
                    encoder = cls(config, **options)
                load_encoder_weights(encoder, conf.name, conf.revision)
            else:
                encoder = cls(config, **options)
        if load_weights:
            config_values: dict[str, Any] | None = conf.config
            encoder.base = describe_base("encoder", conf.name, conf.revision, config_values)
        return encoder

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """Number of states of clips of ``num_samples`` samples: ceil(n / 320), at least 1."""
        return ((num_samples + SAMPLES_PER_FRAME - 1) // SAMPLES_PER_FRAME).clamp(min=1)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode waveforms.

        Args:
            speech: (S, T) 16 kHz waveforms, zero behind each clip's length.
            lengths: (S,) in samples. Clips longer than 30 s are cut into windows of 30 s.

        Returns:
            (S, T', dim) states, zero behind each clip's length, and their lengths (S,).
        """
        frame_lengths = self.output_lengths(lengths)
        speech = speech[:, : int(lengths.max().clamp(min=1))]
        clips = speech.shape[0]
        windows = -(-speech.shape[1] // self.window_samples)
        if windows == 1:
            states = self._encode_windows(speech, lengths)
        else:
            speech = F.pad(speech, (0, windows * self.window_samples - speech.shape[1]))
            speech = speech.reshape(clips * windows, self.window_samples)
            starts = torch.arange(windows, device=lengths.device) * self.window_samples
            in_window = (lengths[:, None] - starts).clamp(0, self.window_samples).flatten()
            # a clip's first window is kept even if it were empty, so that it has a state
            used = ((in_window > 0) | (starts.repeat(clips) == 0)).nonzero()[:, 0]
            encoded = self._encode_windows(speech[used], in_window[used])
            frames = self.config.max_source_positions
            encoded = F.pad(encoded, (0, 0, 0, frames - encoded.shape[1]))
            states = encoded.new_zeros(clips * windows, frames, self.dim)
            # a full window has exactly `frames` states, so the windows join without a seam
            states = states.index_copy(0, used, encoded).reshape(clips, windows * frames, self.dim)
        return cut_padding(states, frame_lengths), frame_lengths

    def _encode_windows(self, speech: Tensor, lengths: Tensor) -> Tensor:
        """Encode (S, T) waveforms of at most one window: (S, T', dim)."""
        lengths = (lengths + self.silence).clamp(max=self.window_samples)
        speech = F.pad(speech, (0, max(int(lengths.max()) - speech.shape[1], 0)))
        mel_lengths = ((lengths + HOP - 1) // HOP).clamp(min=1)
        longest = int(mel_lengths.max())
        mel = self.log_mel(speech)[..., :longest].to(self.conv1.weight.dtype)
        if self.specaug is not None and self.training:
            mel = self.specaug(mel.transpose(1, 2), mel_lengths)[0].transpose(1, 2)
        # Padding is set to zero before each convolution: a clip alone sees the same zeros there.
        x = F.gelu(self.conv1(zero_padding(mel, mel_lengths, dim=2)))
        x = F.gelu(self.conv2(zero_padding(x, mel_lengths, dim=2)))
        frame_lengths = (mel_lengths + 1) // 2
        x = zero_padding(x, frame_lengths, dim=2).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        # below the lowest trainable layer everything runs as in inference
        if self.training and self.conv1.weight.requires_grad:
            x = F.dropout(x, self.dropout)
        mask = attention_mask(frame_lengths, x.shape[1])
        for layer in self.layers:
            if self.checkpoint_layers and torch.is_grad_enabled():
                x = checkpoint(layer, x, mask, use_reentrant=False)
            else:
                x = layer(x, mask)
        return self.layer_norm(x)


def _specaug(conf: dict[str, Any]) -> nn.Module:
    from espnet2.asr.specaug.specaug import SpecAug

    try:
        specaug = SpecAug(**conf)
        with torch.device("cpu"):  # also where a model is only described, without values
            # wrong values are told by its first use
            specaug(torch.zeros(1, 400, 80), torch.tensor([400]))
    except Exception as error:  # of ESPnet's checks, and of what it calls
        reason = plain(error, 200) or "ESPnet's SpecAug does not take these values"
        raise ConfigError(f"encoder_conf: specaug_conf: {reason}") from None
    return specaug


def build(conf: WhisperEncoderConf, load_weights: bool = True) -> WhisperEncoder:
    """See `espnet_part.model.kinds.EncoderModulePart`."""
    return WhisperEncoder.from_conf(conf, load_weights)


def load_config(name: str, revision: str | None) -> WhisperConfig:
    """Read a Whisper model's configuration.

    Raises:
        ConfigError: missing, or of another kind of model.
    """
    values = check_config(name, revision)
    if values.get("model_type") != "whisper":
        raise ConfigError(f"{name}: is a {value(values.get('model_type'))} model, not Whisper")
    try:
        return WhisperConfig.from_dict(values)
    except Exception as error:  # transformers checks types with errors of several libraries
        raise ConfigError(f"{name}: config.json: {plain(error, 200)}") from None


def load_encoder_weights(encoder: nn.Module, name: str, revision: str | None) -> None:
    """Load the encoder's weights from a whole Whisper checkpoint or an encoder's own.

    Raises:
        ConfigError: a file is damaged, or a weight is missing or has another shape.
    """
    from safetensors import SafetensorError, safe_open

    state: dict[str, Tensor] = {}
    wanted = encoder.state_dict()
    for path in find_weights(name, revision):
        try:
            with safe_open(str(path), framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a dict)
                    # "model.encoder.": with the decoder and head; "encoder.": without the head
                    own = key.removeprefix("model.").removeprefix("encoder.")
                    if own in wanted and not key.startswith(("model.decoder.", "decoder.")):
                        state[own] = file.get_tensor(key)
        except SafetensorError as error:
            raise ConfigError(f"{path}: damaged or not a safetensors file: {error}") from None
    check_weights(wanted, state, name)
    encoder.load_state_dict(state)
