"""The model's configuration: which encoder, adapter, LLM and LoRA, and their settings.

Imports neither torch nor transformers, so that commands that only describe a model are quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic
from pydantic.dataclasses import dataclass

from espnet_part.config import ConfigError, build, did_you_mean, load_yaml

_STRICT = pydantic.ConfigDict(extra="forbid")

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


def _exactly_one(name: str | None, config: Mapping[str, Any] | None) -> None:
    if name is None and config is None:
        raise ValueError(
            "give `name` (a hub name or a directory) or `config` (sizes, for random weights)"
        )
    if name is not None and config is not None:
        raise ValueError("give `name` or `config`, not both")


def _divides(heads: int, dim: int, heads_key: str, dim_key: str) -> None:
    if heads <= 0 or dim % heads:
        raise ValueError(f"`{heads_key}` ({heads}) must divide `{dim_key}` ({dim})")


def _positive(conf: Any, *keys: str) -> None:
    for key in keys:
        if getattr(conf, key) <= 0:
            raise ValueError(f"`{key}` must be positive (got {getattr(conf, key)!r})")


def _share(conf: Any, *keys: str) -> None:
    for key in keys:
        if not 0 <= getattr(conf, key) < 1:
            raise ValueError(f"`{key}` must be in [0, 1) (got {getattr(conf, key)!r})")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class WhisperEncoderConf:
    """A Whisper encoder, from pretrained weights or from sizes.

    Attributes:
        name: hub name or local directory of a Whisper model or of its encoder alone.
        revision: the hub's revision (a commit, for runs to be repeated).
        config: `WhisperConfig` keywords; the weights are then random.
        pad_to_30s: encode every clip inside 30 s of silence, the condition of the pretraining.
        gradient_checkpointing: recompute the layers in the backward pass to save memory.
    """

    name: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    pad_to_30s: bool = False
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        _exactly_one(self.name, self.config)
        if self.config is not None:
            for key in self.config:
                if key not in WHISPER_CONFIG_KEYS:
                    raise ValueError(did_you_mean(key, WHISPER_CONFIG_KEYS, f"config.{key}"))
            for key in WHISPER_CONFIG_KEYS[:6]:
                value = self.config.get(key, 1)
                if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                    raise ValueError(f"`config.{key}` must be a positive whole number: {value!r}")
            _divides(
                self.config.get("encoder_attention_heads", 6),
                self.config.get("d_model", 384),
                "config.encoder_attention_heads",
                "config.d_model",
            )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TransformerCNNConf:
    """The paper's adapter: one convolution that downsamples, then Transformer layers.

    Attributes:
        downsample: the convolution's stride; frames out = ceil(frames in / downsample).
        kernel: its width in frames; odd.
        dim, heads, ff, layers, dropout: of the Transformer layers.
    """

    downsample: int = 2
    kernel: int = 3
    dim: int = 1280
    heads: int = 20
    ff: int = 5120
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _positive(self, "downsample", "kernel", "dim", "heads", "ff", "layers")
        _share(self, "dropout")
        _divides(self.heads, self.dim, "heads", "dim")
        if self.kernel % 2 == 0 or self.kernel < self.downsample:
            raise ValueError(
                f"`kernel` ({self.kernel}) must be odd and at least `downsample` "
                f"({self.downsample}), or frames would be skipped"
            )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LinearConf:
    """Frame stacking and a two-layer perceptron.

    Attributes:
        stack: frames concatenated into one; frames out = ceil(frames in / stack).
        hidden: width of the perceptron.
        dropout: after its activation.
        embedding_norm: end with a LayerNorm that starts at the scale of the LLM's embeddings.
    """

    stack: int = 2
    hidden: int = 2048
    dropout: float = 0.0
    embedding_norm: bool = True

    def __post_init__(self) -> None:
        _positive(self, "stack", "hidden")
        _share(self, "dropout")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LLMConf:
    """A causal language model of transformers.

    Attributes:
        name: hub name or local directory.
        revision: the hub's revision.
        config: `model_type` and the keywords of its config class; the weights are then random.
        tokenizer: hub name or directory of the tokenizer where it is not `name`.
        dtype: of the base weights in memory; LoRA's are float32 always.
        attention: transformers' attention implementation, e.g. sdpa or flash_attention_2.
        gradient_checkpointing: recompute the layers in the backward pass to save memory.
    """

    name: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        _exactly_one(self.name, self.config)
        if self.config is not None:
            if "model_type" not in self.config:
                raise ValueError("`config.model_type` is missing (for example qwen2)")
            heads, dim = self.config.get("num_attention_heads"), self.config.get("hidden_size")
            # a head dimension given outright need not divide the hidden size (Qwen3)
            if heads is not None and dim is not None and "head_dim" not in self.config:
                _divides(heads, dim, "config.num_attention_heads", "config.hidden_size")

    @property
    def tokenizer_name(self) -> str:
        """Where the tokenizer is.

        Raises:
            ConfigError: an LLM made from sizes names no tokenizer.
        """
        name = self.tokenizer or self.name
        if name is None:
            raise ConfigError("llm_conf: `tokenizer` is missing (needed beside `config`)")
        return name


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LoRAConf:
    """Low-rank adaptation (Hu et al. 2021) of the LLM's linear layers, through PEFT.

    Attributes:
        rank: inner width. alpha: the update is scaled by alpha / rank. dropout: on its input.
        targets: names of linear modules, e.g. q_proj; every one must be found in the LLM.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        _positive(self, "rank", "alpha")
        _share(self, "dropout")
        if not self.targets:
            raise ValueError("`targets` names no module; give `lora_conf: null` for no LoRA")


EncoderConf = WhisperEncoderConf | ESPnetEncoderConf
AdapterConf = TransformerCNNConf | LinearConf

_ENCODERS: dict[str, type] = {"whisper": WhisperEncoderConf, "espnet": ESPnetEncoderConf}
_ADAPTERS: dict[str, type] = {"transformer_cnn": TransformerCNNConf, "linear": LinearConf}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModelConfig:
    """Encoder, adapter, LLM, LoRA and prompts; made by `from_mapping`."""

    encoder: Literal["whisper", "espnet"]
    encoder_conf: EncoderConf
    speech_adapter: Literal["transformer_cnn", "linear"]
    speech_adapter_conf: AdapterConf
    llm_conf: LLMConf
    lora_conf: LoRAConf | None = None
    prompts: str | None = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str) -> ModelConfig:
        """Pick the model's keys out of ``mapping`` (a model YAML, or a run's config.yaml).

        Args:
            mapping: may hold other keys, which are left alone.
            where: the file, for messages.

        Raises:
            ConfigError: names the file and the key.
        """
        encoder = _choice(mapping, "encoder", "whisper", _ENCODERS, where)
        adapter = _choice(mapping, "speech_adapter", "transformer_cnn", _ADAPTERS, where)
        lora = mapping.get("lora_conf")
        prompts = mapping.get("prompts")
        if prompts is not None and not isinstance(prompts, str):
            raise ConfigError(f"{where}: prompts: must be a path, not {prompts!r}")
        return cls(
            encoder=encoder,  # type: ignore[arg-type]
            encoder_conf=_section(mapping, "encoder_conf", _ENCODERS[encoder], where),
            speech_adapter=adapter,  # type: ignore[arg-type]
            speech_adapter_conf=_section(mapping, "speech_adapter_conf", _ADAPTERS[adapter], where),
            llm_conf=_section(mapping, "llm_conf", LLMConf, where),
            lora_conf=None if lora is None else build(LoRAConf, lora, f"{where}: lora_conf"),
            prompts=prompts,
        )


def load_model_file(path: str) -> dict[str, Any]:
    """Load a model file (with its ``base``), which has the keys of `ModelConfig` and no others.

    Raises:
        ConfigError: an unknown key, which would otherwise leave a default silently in force.
    """
    values = load_yaml(path)
    known = list(ModelConfig.__dataclass_fields__)
    for key in values:
        if key not in known:
            raise ConfigError(f"{path}: {did_you_mean(str(key), known)}")
    return values


def _choice(
    mapping: Mapping[str, Any], key: str, default: str, known: dict[str, type], where: str
) -> str:
    value = mapping.get(key, default)
    if value not in known:
        raise ConfigError(f"{where}: {key}: {value!r} is not one of {', '.join(known)}")
    return value


def _section(mapping: Mapping[str, Any], key: str, cls: type, where: str) -> Any:
    return build(cls, mapping.get(key) or {}, f"{where}: {key}")
