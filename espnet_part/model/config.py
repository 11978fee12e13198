"""The model's configuration: which encoder, adapter, LLM and LoRA, and their settings.

Imports neither torch nor transformers, so that commands that only describe a model are quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from espnet_part.config import build, load_yaml
from espnet_part.errors import ConfigError, did_you_mean
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.kinds import Kinds
from espnet_part.model.validation import STRICT, divides, exactly_one, positive, share


@dataclass(frozen=True, kw_only=True, config=STRICT)
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
        quantization: nf4 holds the matrices of the layers in 4 bits (QLoRA, Dettmers et al. 2023, with
            its double quantization; extra `qlora`), computes with them in `dtype`, and trains LoRA alone.
    """

    name: str | None = None
    revision: str | None = None
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    quantization: Literal["nf4"] | None = None

    def __post_init__(self) -> None:
        exactly_one(self.name, self.config)
        if self.quantization is not None and self.name is None:
            raise ValueError("`quantization` is of a pretrained LLM: give its `name`")
        if self.config is not None:
            if "model_type" not in self.config:
                raise ValueError("`config.model_type` is missing (for example qwen2)")
            heads, dim = self.config.get("num_attention_heads"), self.config.get("hidden_size")
            # a head dimension given outright need not divide the hidden size (Qwen3)
            if heads is not None and dim is not None and "head_dim" not in self.config:
                divides(heads, dim, "config.num_attention_heads", "config.hidden_size")

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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LoRAConf:
    """Low-rank adaptation (Hu et al. 2021) of the LLM's linear layers, through PEFT.

    Attributes:
        rank: inner width. alpha: the update is scaled by alpha / rank. dropout: on its input.
        targets: names of linear modules, e.g. q_proj; every one must be found in the LLM.
        use_dora: learn the length of each output's weights apart from their direction (DoRA, Liu et
            al. 2024): one more vector a module; each pass works out the adapted weights' lengths.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    use_dora: bool = False

    def __post_init__(self) -> None:
        positive(self, "rank", "alpha")
        share(self, "dropout")
        if not self.targets:
            raise ValueError("`targets` names no module; give `lora_conf: null` for no LoRA")


#: What a model file that names no kind gets.
DEFAULT_ENCODER = "whisper"
DEFAULT_ADAPTER = "transformer_cnn"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """Encoder, adapter, LLM, LoRA and prompts; made by `load` or `from_mapping`.

    Attributes:
        encoder, speech_adapter: names of their kinds; the settings beside each are the kind's own.
    """

    encoder: str
    encoder_conf: Any
    speech_adapter: str
    speech_adapter_conf: Any
    llm_conf: LLMConf
    lora_conf: LoRAConf | None = None
    prompts: str | None = None

    @classmethod
    def load(cls, path: str) -> ModelConfig:
        """Read a model file (see `load_model_file`).

        Raises:
            ConfigError: names the file and the key.
        """
        return cls.from_mapping(load_model_file(path), path)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str) -> ModelConfig:
        """Pick the model's keys out of ``mapping`` (a model YAML, or a run's config.yaml).

        Args:
            mapping: may hold other keys, which are left alone.
            where: the file, for messages.

        Raises:
            ConfigError: names the file and the key.
        """
        encoder = _choice(mapping, "encoder", DEFAULT_ENCODER, ENCODERS, where)
        adapter = _choice(mapping, "speech_adapter", DEFAULT_ADAPTER, ADAPTERS, where)
        encoder_class = ENCODERS.conf(encoder).Conf
        adapter_class = ADAPTERS.conf(adapter).Conf
        lora = mapping.get("lora_conf")
        prompts = mapping.get("prompts")
        if prompts is not None and not isinstance(prompts, str):
            raise ConfigError(f"{where}: prompts: must be a path, not {prompts!r}")
        return cls(
            encoder=encoder,
            encoder_conf=_section(mapping, "encoder_conf", encoder_class, where),
            speech_adapter=adapter,
            speech_adapter_conf=_section(mapping, "speech_adapter_conf", adapter_class, where),
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


def _choice(mapping: Mapping[str, Any], key: str, default: str, kinds: Kinds, where: str) -> str:
    value = mapping.get(key, default)
    if value not in kinds.own() and value not in kinds.names():
        raise ConfigError(f"{where}: {key}: {value!r} is not one of {', '.join(kinds.names())}")
    return value


def _section(mapping: Mapping[str, Any], key: str, cls: type, where: str) -> Any:
    return build(cls, mapping.get(key) or {}, f"{where}: {key}")
