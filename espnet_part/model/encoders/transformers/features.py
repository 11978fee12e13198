"""How audio encoders of transformers read audio, equal to their own feature extractors.

Each is a torch module from padded waveforms to padded features, on any device and without a detour
over numpy, and says how many states come of them and how the encoder passes over them. A clip's features
and states do not depend on the clips beside it.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank, window_function

from espnet_part.model.masking import attention_mask, valid_mask, zero_padding
from espnet_part.sample_rate import SAMPLE_RATE

HOP = 160  # samples between frames, of all that read spectra


class Reading(nn.Module):
    """What a family of encoders reads; `forward` computes it: (S, T) waveforms with (S,) samples to features.

    Attributes:
        min_samples: what gives the encoder a state. window_samples: clips are cut into windows of so many;
            0 for no windows.
    """

    min_samples: int
    window_samples = 0

    def settings(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        raise NotImplementedError

    def lengths(self, samples: Tensor) -> Tensor:
        """(S,) frames (or samples) of clips of (S,) samples."""
        return samples // HOP

    def states(self, model: Any, frames: Tensor) -> Tensor:
        """(S,) states that the encoder ``model`` gives of (S,) frames."""
        return frames

    def encode(self, model: Any, features: Tensor, frames: Tensor) -> Tensor:
        """(S, longest, …) features with (S,) frames to (S, T', dim) states, whatever behind each clip's."""
        mask = valid_mask(frames, features.shape[1]).long()
        # without padding a mask changes nothing but the speed
        padded = not bool(mask.all())
        return model(features, attention_mask=mask if padded else None).last_hidden_state


class Waveform(Reading):
    """Samples, at zero mean and unit variance if wanted (Wav2Vec2FeatureExtractor)."""

    min_samples = 400  # the receptive field of the convolutions of wav2vec 2.0

    def __init__(self, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize

    def settings(self) -> dict[str, Any]:
        return {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "do_normalize": self.normalize,
            "return_attention_mask": True,
            "sampling_rate": SAMPLE_RATE,
        }

    def lengths(self, samples: Tensor) -> Tensor:
        return samples

    def states(self, model: Any, frames: Tensor) -> Tensor:
        return model._get_feat_extract_output_lengths(frames).long()

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms to (S, T)."""
        if not self.normalize:
            return speech
        valid = valid_mask(samples, speech.shape[1])
        mean = (speech * valid).sum(1, keepdim=True) / samples[:, None]
        centred = (speech - mean) * valid
        variance = (centred**2).sum(1, keepdim=True) / samples[:, None]
        return centred / (variance + 1e-7).sqrt()


class MoonshineWaveform(Waveform):
    """Samples as they are, of encoders whose convolutions end in a norm over all of a clip."""

    min_samples = 895  # the receptive field of Moonshine's convolutions

    def __init__(self) -> None:
        super().__init__(normalize=False)

    def states(self, model: Any, frames: Tensor) -> Tensor:
        for kernel, stride in ((127, 64), (7, 3), (3, 2)):
            frames = (frames - kernel) // stride + 1
        return frames

    def encode(self, model: Any, features: Tensor, frames: Tensor) -> Tensor:
        clips = [
            self._convolve(model, clip[None, :n])[0]
            for clip, n in zip(features, frames.tolist(), strict=True)
        ]
        x = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        mask = attention_mask(self.states(model, frames), x.shape[1])
        positions = model.rotary_emb(x, torch.arange(x.shape[1], device=x.device)[None])
        for layer in model.layers:
            x = layer(x, attention_mask=mask, position_embeddings=positions)
        return model.layer_norm(x)

    def _convolve(self, model: Any, clip: Tensor) -> Tensor:
        x = model.groupnorm(model.conv1(clip[:, None]).tanh())
        return F.gelu(model.conv3(F.gelu(model.conv2(x)))).transpose(1, 2)


class KaldiFbank(Reading):
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


class NemoMel(Reading):
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
        return {
            "feature_extractor_type": "ParakeetFeatureExtractor",
            "feature_size": self.bins,
            "sampling_rate": SAMPLE_RATE,
        }

    def states(self, model: Any, frames: Tensor) -> Tensor:
        return model._get_subsampling_output_length(frames).long()

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


class WhisperMel(Reading):
    """Whisper's log-mel spectrogram, with two frames of silence behind the longest clip at least; of
    towers like Whisper's encoder, which read windows of 30 s.

    Args:
        pooled: the tower averages pairs of states (Qwen2-Audio, Audio Flamingo 3; Voxtral does not).
    """

    min_samples = 3 * HOP  # what gives a pair of states

    def __init__(self, bins: int, window_samples: int = sys.maxsize, pooled: bool = True) -> None:
        super().__init__()
        from espnet_part.model.encoders.whisper.module import LogMel

        self.bins = bins
        self.window_samples = window_samples
        self.pooled = pooled
        self.log_mel = LogMel(bins, window_samples)

    def settings(self) -> dict[str, Any]:
        return {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": self.bins,
            "sampling_rate": SAMPLE_RATE,
        }

    def lengths(self, samples: Tensor) -> Tensor:
        return (samples + HOP - 1) // HOP

    def states(self, model: Any, frames: Tensor) -> Tensor:
        states = (frames - 1) // 2 + 1
        return (states - 2) // 2 + 1 if self.pooled else states

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms of at most a window to (S, frames, bins)."""
        longest = min(self.log_mel.window_samples, (-(-speech.shape[1] // HOP) + 4) * HOP)
        mel = self.log_mel(F.pad(speech, (0, longest - speech.shape[1])))
        return mel[..., : longest // HOP].transpose(1, 2)

    def encode(self, model: Any, features: Tensor, frames: Tensor) -> Tensor:
        """The tower without its padding to 30 s: the same, for padding is no key there."""
        x = F.gelu(model.conv2(F.gelu(model.conv1(features.transpose(1, 2))))).transpose(1, 2)
        x = x + model.embed_positions.weight[: x.shape[1]]
        x = F.dropout(x, model.dropout, model.training)
        mask = attention_mask((frames - 1) // 2 + 1, x.shape[1])
        for layer in model.layers:
            x = layer(x, mask)
        if self.pooled:
            x = model.avg_pooler(x.transpose(1, 2)).transpose(1, 2)
        return model.layer_norm(x)


class OmniMel(WhisperMel):
    """Whisper's spectrogram of a clip of any length, which Qwen2.5-Omni's tower reads 2 s at a time."""

    def __init__(self, bins: int) -> None:
        super().__init__(bins)
        self.window_samples = 0

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"chunk_length": 300}

    def encode(self, model: Any, features: Tensor, frames: Tensor) -> Tensor:
        clips = [clip[:n] for clip, n in zip(features, frames.tolist(), strict=True)]
        states = model(torch.cat(clips).T, feature_lens=frames).last_hidden_state
        return _unpack(states, self.states(model, frames))


class QwenASRMel(Reading):
    """Whisper's spectrogram of exactly a clip, which Qwen3-ASR's tower reads a second at a time
    (Qwen3ASRFeatureExtractor)."""

    min_samples = 8000  # its own extractor lengthens shorter clips

    def __init__(self, bins: int) -> None:
        super().__init__()
        from espnet_part.model.encoders.whisper.module import LogMel

        self.bins = bins
        self.log_mel = LogMel(bins, 0)

    def settings(self) -> dict[str, Any]:
        return {
            "feature_extractor_type": "Qwen3ASRFeatureExtractor",
            "feature_size": self.bins,
            "sampling_rate": SAMPLE_RATE,
        }

    def states(self, model: Any, frames: Tensor) -> Tensor:
        chunk = 2 * model.n_window
        whole, rest = torch.tensor(chunk, device=frames.device), frames % chunk
        for _ in range(3):
            whole, rest = (whole - 1) // 2 + 1, (rest - 1) // 2 + 1
        return frames // chunk * whole + rest

    def forward(self, speech: Tensor, samples: Tensor) -> Tensor:
        """(S, T) waveforms to (S, frames, bins), zero behind each clip."""
        size = 400
        reach = size // 2
        place = torch.arange(speech.shape[1] + reach, device=speech.device)
        # each clip is mirrored at its own ends
        place = torch.where(place < samples[:, None], place, 2 * samples[:, None] - 2 - place)
        mirrored = torch.cat(
            [speech[:, 1 : reach + 1].flip(1), speech.gather(1, place.clamp(min=0))], 1
        )
        hann = self.log_mel.hann.float()
        spectrum = torch.stft(mirrored, size, HOP, window=hann, center=False, return_complex=True)
        power = (self.log_mel.filters.float() @ spectrum.abs() ** 2).clamp(min=1e-10)
        mel = power.log10().transpose(1, 2)
        frames = self.lengths(samples)
        mel = mel[:, : int(frames.max())]
        behind = ~valid_mask(frames, mel.shape[1])[..., None]
        floor = mel.masked_fill(behind, -torch.inf).amax(dim=(1, 2), keepdim=True) - 8.0
        return ((torch.maximum(mel, floor) + 4.0) / 4.0).masked_fill(behind, 0.0)

    def encode(self, model: Any, features: Tensor, frames: Tensor) -> Tensor:
        rest = -features.shape[1] % (2 * model.n_window)
        mel = F.pad(features.transpose(1, 2), (0, rest))
        states = model(mel, valid_mask(frames, mel.shape[2]).long()).last_hidden_state
        return _unpack(states, self.states(model, frames))


def _unpack(states: Tensor, lengths: Tensor) -> Tensor:
    """States of clips one behind the other to (S, longest, dim)."""
    return nn.utils.rnn.pad_sequence(states.split(lengths.tolist()), batch_first=True)
