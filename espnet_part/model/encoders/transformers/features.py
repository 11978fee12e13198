"""What audio encoders of transformers read, equal to their own feature extractors.

Each is a torch module from padded waveforms to padded features, on any device and without a detour
over numpy. A clip's features do not depend on the clips beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank, window_function

from espnet_part.model.masking import valid_mask, zero_padding
from espnet_part.sample_rate import SAMPLE_RATE

HOP = 160  # samples between frames, of all that read spectra


class Waveform(nn.Module):
    """Samples, at zero mean and unit variance if wanted (Wav2Vec2FeatureExtractor)."""

    min_samples = 400  # the receptive field of the convolutions of wav2vec 2.0

    def __init__(self, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize

    def settings(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        return {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "do_normalize": self.normalize,
            "return_attention_mask": True,
            "sampling_rate": SAMPLE_RATE,
        }

    def lengths(self, samples: Tensor) -> Tensor:
        return samples

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms to (S, T)."""
        if not self.normalize:
            return speech
        valid = valid_mask(samples, speech.shape[1])
        mean = (speech * valid).sum(1, keepdim=True) / samples[:, None]
        centred = (speech - mean) * valid
        variance = (centred**2).sum(1, keepdim=True) / samples[:, None]
        return centred / (variance + 1e-7).sqrt()


class KaldiFbank(nn.Module):
    """Kaldi's filter banks, normalised by clip and bin, two frames stacked (SeamlessM4T's extractor)."""

    min_samples = 400 + HOP  # two frames
    filters: Tensor
    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        bins = size // 2
        filters = mel_filter_bank(
            num_frequency_bins=257,
            num_mel_filters=bins,
            min_frequency=20,
            max_frequency=SAMPLE_RATE // 2,
            sampling_rate=SAMPLE_RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        self.bins = bins
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), False)
        window = torch.tensor(window_function(400, "povey", periodic=False), dtype=torch.float32)
        self.register_buffer("window", window, False)

    def settings(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        return {
            "feature_extractor_type": "SeamlessM4TFeatureExtractor",
            "feature_size": self.bins,
            "num_mel_bins": self.bins,
            "stride": 2,
            "sampling_rate": SAMPLE_RATE,
        }

    def lengths(self, samples: Tensor) -> Tensor:
        """Pairs of frames; one that is left over is dropped."""
        return ((samples - 400) // HOP + 1) // 2

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms to (S, pairs, 2 x bins)."""
        frames = (speech.float() * 2**15).unfold(1, 400, HOP)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.window.float(), 512)
        log_mel = (
            (spectrum.abs() ** 2 @ self.filters.float()).clamp(min=1.192092955078125e-07).log()
        )
        count = (samples - 400) // HOP + 1
        valid = valid_mask(count, log_mel.shape[1])[..., None]
        mean = (log_mel * valid).sum(1, keepdim=True) / count[:, None, None]
        centred = (log_mel - mean) * valid
        variance = (centred**2).sum(1, keepdim=True) / (count[:, None, None] - 1)
        normal = centred / (variance + 1e-7).sqrt()
        normal = normal[:, : normal.shape[1] // 2 * 2]
        return normal.reshape(len(normal), -1, 2 * self.bins)


class NemoMel(nn.Module):
    """NeMo's log-mel spectrogram, normalised by clip and bin (ParakeetFeatureExtractor)."""

    min_samples = 2 * HOP
    filters: Tensor
    window: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        filters = mel_filter_bank(
            num_frequency_bins=257,
            num_mel_filters=bins,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.bins = bins
        self.register_buffer("filters", torch.tensor(filters.T, dtype=torch.float32), False)
        self.register_buffer("window", torch.hann_window(400, periodic=False), False)

    def settings(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        return {
            "feature_extractor_type": "ParakeetFeatureExtractor",
            "feature_size": self.bins,
            "sampling_rate": SAMPLE_RATE,
        }

    def lengths(self, samples: Tensor) -> Tensor:
        return samples // HOP

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms to (S, frames, bins), zero behind each clip."""
        speech = torch.cat([speech[:, :1], speech[:, 1:] - 0.97 * speech[:, :-1]], 1).float()
        speech = speech.masked_fill(~valid_mask(samples, speech.shape[1]), 0.0)
        spectrum = torch.stft(
            speech,
            512,
            HOP,
            win_length=400,
            window=self.window.float(),
            return_complex=True,
            pad_mode="constant",
        )
        log_mel = (self.filters.float() @ spectrum.abs() ** 2 + 2**-24).log().transpose(1, 2)
        count = self.lengths(samples)
        log_mel = zero_padding(log_mel, count)
        mean = log_mel.sum(1, keepdim=True) / count[:, None, None]
        squares = zero_padding(log_mel - mean, count) ** 2
        std = (squares.sum(1, keepdim=True) / (count[:, None, None] - 1)).sqrt()
        return zero_padding((log_mel - mean) / (std + 1e-5), count)


class WhisperMel(nn.Module):
    """Whisper's log-mel spectrogram, with two frames of silence behind the longest clip at least."""

    min_samples = 3 * HOP  # what gives Qwen2-Audio's tower a state

    def __init__(self, bins: int, window_samples: int) -> None:
        super().__init__()
        from espnet_part.model.encoders.whisper.module import LogMel

        self.bins = bins
        self.window_samples = window_samples
        self.log_mel = LogMel(bins, window_samples)

    def settings(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        return {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": self.bins,
            "sampling_rate": SAMPLE_RATE,
        }

    def lengths(self, samples: Tensor) -> Tensor:
        return (samples + HOP - 1) // HOP

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms of at most a window to (S, frames, bins)."""
        longest = min(self.window_samples, (-(-speech.shape[1] // HOP) + 4) * HOP)
        mel = self.log_mel(F.pad(speech, (0, longest - speech.shape[1])))
        return mel[..., : longest // HOP].transpose(1, 2)
