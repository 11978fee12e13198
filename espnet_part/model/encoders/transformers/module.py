"""Audio encoders of transformers on true lengths: one wrapper, and their ways of reading audio.

What transformers leaves to the caller is done here: features are computed by clip, masks are made from
true lengths, what normalises over time runs clip by clip, and nothing random but dropout happens in
training (no masking of spans, no dropped layers), so that a clip's states do not depend on its batch.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedConfig
from transformers.initialization import no_init_weights

from espnet_part.display import plain, value
from espnet_part.errors import ConfigError
from espnet_part.model.base import BaseModel, check_config, check_weights, find_weights
from espnet_part.model.encoders.transformers.conf import PROTECTED, TransformersEncoderConf
from espnet_part.model.encoders.transformers.features import (
    KaldiFbank,
    MoonshineWaveform,
    NemoMel,
    OmniMel,
    QwenASRMel,
    Reading,
    Waveform,
    WhisperMel,
)
from espnet_part.model.encoders.transformers.packing import identify
from espnet_part.model.masking import cut_padding

#: Read waveforms, and mask their padding (data2vec-audio and the conformers do not mask all of it).
_WAVEFORM = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
_WINDOWS = ("qwen2_audio_encoder", "audioflamingo3_encoder", "voxtral_encoder")
_KNOWN = (
    *(*_WAVEFORM, "wav2vec2-bert", "parakeet_encoder", *_WINDOWS),
    *("qwen2_5_omni_audio_encoder", "qwen3_asr_encoder", "moonshine"),
)
#: Where a speech LLM or a model with a head keeps its encoder's configuration.
_NESTED = ("thinker_config", "audio_config", "encoder_config", "speech_config")
#: What a configuration may name and this package does not follow: code, kernels, quantisation.
_IGNORED = (
    *("auto_map", "quantization_config", "use_kernels", "kernel_config"),
    *("_attn_implementation", "_attn_implementation_internal", "attn_implementation"),
    *("experts_implementation", "_experts_implementation", "dtype", "torch_dtype"),
)
#: Random or redundant in training, which transformers switches by configuration.
_SETTINGS = {
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
    "add_adapter": False,  # w2v-BERT's and wav2vec 2.0's own; ours is the speech adapter
}


class TransformersEncoder(nn.Module):
    """Waveforms to the states of an audio encoder of transformers.

    Args:
        model: the encoder. normalize: see `TransformersEncoderConf`.
        gradient_checkpointing: recompute each layer in the backward pass.

    Attributes:
        dim: width of a state.
        layers: its blocks. Registered first, so that their parameters are named ``layers.N.*``.
    """

    protected = PROTECTED

    def __init__(
        self, model: Any, normalize: bool = True, gradient_checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.layers = _blocks(model)
        self.model = model
        self.features = _features(model.config, normalize)
        self.layers_run_once = not self.features.window_samples  # once for each window
        self.base: BaseModel | None = None
        projection = getattr(model, "proj", None)  # Qwen2.5-Omni's, to the width of its LLM
        self.dim: int = projection.out_features if projection else model.config.hidden_size
        self._clips: Tensor | None = None
        if getattr(model.config, "feat_extract_norm", None) == "group":
            self._extract_by_clip(model.feature_extractor)
        extractor: Any = getattr(model, "feature_extractor", None)
        if hasattr(extractor, "_requires_grad"):
            extractor._requires_grad = False  # it would ask for the gradient of the waveform
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
            norm.forward = partial(_normalize_as_trained, norm)  # type: ignore[method-assign]
        if gradient_checkpointing:
            for layer in self.layers:
                layer.forward = _Checkpointed(layer.forward)

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """Number of states of clips of ``num_samples`` samples."""
        window = self.features.window_samples
        if not window:
            return self._states(num_samples.clamp(min=self.features.min_samples))
        per_window = int(self._states(torch.tensor(window)))
        rest = self._states(num_samples % window).clamp(min=0)
        return (num_samples // window * per_window + rest).clamp(min=1)

    def _states(self, samples: Tensor) -> Tensor:
        return self.features.states(self.model, self.features.lengths(samples))

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode waveforms.

        Args:
            speech: (S, T) 16 kHz waveforms, zero behind each clip's length.
            lengths: (S,) in samples; a clip too short for the encoder is lengthened by silence.

        Returns:
            (S, T', dim) states, zero behind each clip's length, and their lengths (S,).
        """
        out_lengths = self.output_lengths(lengths)
        lengths = lengths.clamp(min=self.features.min_samples)
        speech = F.pad(speech, (0, max(0, int(lengths.max()) - speech.shape[1])))
        speech = speech[:, : int(lengths.max())]
        window = self.features.window_samples or speech.shape[1]
        found = []
        for start in range(0, speech.shape[1], window):
            here = (lengths - start).clamp(0, window)
            used = (here > 0).nonzero()[:, 0]
            part = speech[used, start : start + window]
            states = self._encode(part, here[used].clamp(min=self.features.min_samples))
            found.append(
                states.new_zeros(len(speech), *states.shape[1:]).index_copy(0, used, states)
            )
        return cut_padding(torch.cat(found, 1), out_lengths), out_lengths

    def _encode(self, speech: Tensor, samples: Tensor) -> Tensor:
        speech = F.pad(speech, (0, max(0, int(samples.max()) - speech.shape[1])))
        with torch.autocast(speech.device.type, enabled=False):
            features = self.features(speech.float(), samples)
        features = features.to(next(self.model.parameters()).dtype)
        self._clips = samples
        return self.features.encode(self.model, features, self.features.lengths(samples))

    def _extract_by_clip(self, extractor: nn.Module) -> None:
        """Let convolutions with a norm over time see each clip alone."""
        together = extractor.forward

        def one_by_one(speech: Tensor) -> Tensor:
            assert self._clips is not None
            if bool((self._clips == speech.shape[1]).all()):
                return together(speech)
            clips = [
                together(clip[None, : int(n)])[0].T
                for clip, n in zip(speech, self._clips, strict=True)
            ]
            return nn.utils.rnn.pad_sequence(clips, batch_first=True).transpose(1, 2)

        extractor.forward = one_by_one


def _normalize_as_trained(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm with the statistics of the pretraining, in training as well: those of a batch would
    make a clip's states depend on it and on its padding."""
    return F.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
    )


class _Checkpointed:
    """A layer's forward pass that keeps its input alone."""

    def __init__(self, forward: Any) -> None:
        self.whole = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            return checkpoint(self.whole, *args, use_reentrant=False, **kwargs)
        return self.whole(*args, **kwargs)


def build(conf: TransformersEncoderConf, load_weights: bool = True) -> TransformersEncoder:
    """See `espnet_part.model.kinds.EncoderModulePart`."""
    config = encoder_config(conf)
    model_class = _model_class(config)
    attention = "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"
    try:
        skipped = conf.name is not None and load_weights
        with no_init_weights() if skipped else contextlib.nullcontext():
            model = model_class._from_config(
                config, attn_implementation=attention, dtype=torch.float32
            )
        # of Qwen2.5-Omni: a speech LLM's own marks around a clip, which are no part of its states
        if hasattr(model, "audio_bos_eos_token"):
            del model.audio_bos_eos_token
        encoder = TransformersEncoder(model, conf.normalizes(), conf.gradient_checkpointing)
    except (ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        raise ConfigError(
            f"encoder_conf: {conf.name or config.model_type}: {plain(error, 200)}"
        ) from None
    if load_weights:
        if conf.name is not None:
            _load_weights(model, conf.name, conf.revision)
        encoder.base = identify(conf)
    return encoder


def encoder_config(conf: TransformersEncoderConf) -> PreTrainedConfig:
    """The encoder's configuration, that of a model which contains it included.

    Raises:
        ConfigError: missing, or of no audio encoder that transformers has.
    """
    if conf.name is None:
        values, where = dict(conf.config or {}), "encoder_conf: config"
    else:
        values, where = check_config(conf.name, conf.revision), conf.name
    for key in _NESTED:
        inner = values.get(key)
        if isinstance(inner, dict) and inner.get("model_type") in CONFIG_MAPPING:
            values = inner
            if key != "thinker_config":  # which has an audio_config in turn
                break
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ConfigError(f"{where}: model_type: {value(kind)} is no model of transformers")
    if kind not in _KNOWN:
        raise ConfigError(
            f"{where}: model_type: {kind} is none of the audio encoders whose reading of audio is "
            f"known here: {', '.join(_KNOWN)}"
        )
    values = {k: v for k, v in values.items() if k not in _IGNORED}
    try:
        config = CONFIG_MAPPING[kind].from_dict(values)
    except Exception as error:  # transformers checks types with errors of several libraries
        raise ConfigError(f"{where}: {plain(error, 200)}") from None
    for key, setting in _SETTINGS.items():
        if hasattr(config, key):
            setattr(config, key, setting)
    return config


def _model_class(config: Any) -> Any:
    """The class of an encoder; of Moonshine, that of the encoder within it."""
    if config.model_type == "moonshine":
        from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

        return MoonshineEncoder
    if config.model_type == "qwen2_5_omni_audio_encoder":
        from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

        return Qwen2_5OmniAudioEncoder
    return AutoModel._model_mapping[type(config)]


def _blocks(model: Any) -> nn.ModuleList:
    """The list of the model's layers, wherever it has it: the largest of that many."""
    config = model.config  # in Moonshine's, layers without further words are the decoder's
    count = getattr(config, "encoder_num_hidden_layers", config.num_hidden_layers)
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise ValueError(f"the encoder has no list of {count} layers")
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))


def _features(config: Any, normalize: bool) -> Reading:
    """The module that computes what a model reads."""
    kind = config.model_type
    if kind == "wav2vec2-bert":
        return KaldiFbank(config.feature_projection_input_dim)
    if kind == "parakeet_encoder":
        return NemoMel(config.num_mel_bins)
    if kind in _WINDOWS:
        window = config.max_source_positions * 2 * 160
        return WhisperMel(config.num_mel_bins, window, pooled=kind != "voxtral_encoder")
    if kind == "qwen2_5_omni_audio_encoder":
        return OmniMel(config.num_mel_bins)
    if kind == "qwen3_asr_encoder":
        return QwenASRMel(config.num_mel_bins)
    if kind == "moonshine":
        return MoonshineWaveform()
    if kind in _WAVEFORM:
        return Waveform(normalize)
    raise AssertionError(kind)


def _load_weights(model: nn.Module, name: str, revision: str | None) -> None:
    """Load the encoder's weights from its own checkpoint or from one that contains it."""
    wanted = model.state_dict()
    names = {key: _as_saved(key) for key in wanted}
    files: dict[str, Any] = {}
    try:
        for path in find_weights(name, revision):
            file = safe_open(str(path), framework="pt")
            files |= dict.fromkeys(file.keys(), file)
        prefix = _prefix(files, names)
        state = {}
        for key, (new, old) in names.items():
            for saved in (prefix + new, prefix + old):
                if saved in files:
                    state[key] = files[saved].get_tensor(saved).float()
                    break
    except SafetensorError as error:
        raise ConfigError(f"{name}: damaged or not a safetensors file: {error}") from None
    check_weights(wanted, state, name)
    model.load_state_dict(state)


def _as_saved(key: str) -> tuple[str, str]:
    """A tensor's names in checkpoints: today's, and that of torch's former weight normalisation."""
    old = key.replace("parametrizations.weight.original0", "weight_g")
    return key, old.replace("parametrizations.weight.original1", "weight_v")


def _prefix(files: Any, names: dict[str, tuple[str, str]]) -> str:
    """What stands before the encoder's names where it is a part of another model."""
    last = next(new for new, old in reversed(names.values()) if new == old)
    candidates = {key[: -len(last)] for key in files if key.endswith(last)} | {""}

    def hits(prefix: str) -> int:
        return sum(prefix + new in files for new, _ in names.values())

    return max(sorted(candidates), key=hits)
