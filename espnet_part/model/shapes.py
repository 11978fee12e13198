"""Names and shapes of a model's parameters by arithmetic: no torch, no weights, no download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.files import is_directory
from espnet_part.model.base import find_config
from espnet_part.model.config import (
    AdapterConf,
    LinearConf,
    LoRAConf,
    ModelConfig,
    WhisperEncoderConf,
)
from espnet_part.parsing import read_json_object, read_yaml

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

_ARCHITECTURES = Path(__file__).with_name("architectures.yaml")

# What transformers assumes where a config.json is silent.
_WHISPER_DEFAULTS = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}
_LLM_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen2": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016},
    "qwen3": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "head_dim": 128,
    },
    "llama": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_key_value_heads": None,
    },
}


def parameter_shapes(cfg: ModelConfig) -> dict[str, Shape] | None:
    """Names and shapes that ``SpeechLLM.named_parameters()`` would have, in its order.

    Knows the Whisper encoder, both adapters, LoRA, and LLMs of the families Qwen2, Qwen3 and Llama;
    from sizes in the configuration, a local directory, or a hub name in ``architectures.yaml``.

    Returns:
        None for any other model: `espnet_part.model.build.meta_shapes` answers then.

    Raises:
        ConfigError: a directory without a config.json, or a LoRA target that the LLM lacks.
    """
    sizes = model_sizes(cfg)
    if sizes is None:
        return None
    encoder, llm = sizes
    shapes = dict(_whisper(encoder))
    shapes.update(_adapter(cfg.speech_adapter_conf, encoder["d_model"], llm["hidden_size"]))
    shapes.update(_with_lora(_llm(llm), cfg.lora_conf))
    return shapes


def model_sizes(cfg: ModelConfig) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The sizes of encoder and LLM in the words of their config.json, with what it leaves out.

    Returns:
        None where `parameter_shapes` gives None.

    Raises:
        ConfigError: a directory without a config.json, or an encoder that is no Whisper.
    """
    if not isinstance(cfg.encoder_conf, WhisperEncoderConf):
        return None
    encoder = _sizes(cfg.encoder_conf.name, cfg.encoder_conf.config)
    llm = _sizes(cfg.llm_conf.name, cfg.llm_conf.config)
    if encoder is None or llm is None or llm.get("model_type") not in _LLM_DEFAULTS:
        return None
    if encoder.get("model_type", "whisper") != "whisper":
        raise ConfigError(f"encoder_conf: {cfg.encoder_conf.name}: is not a Whisper model")
    return {**_WHISPER_DEFAULTS, **encoder}, _complete(llm)


def _sizes(name: str | None, config: dict[str, Any] | None) -> dict[str, Any] | None:
    """A model's config.json, wherever it is; None for a hub name that is not in the table."""
    if name is None:
        return config
    if is_directory(name):
        return read_json_object(find_config(name, None))
    known = read_yaml(_ARCHITECTURES)
    return known.get(name.removesuffix("-Instruct"))


def _linear(name: str, out_dim: int, in_dim: int, bias: bool = True) -> Named:
    yield f"{name}.weight", (out_dim, in_dim)
    if bias:
        yield f"{name}.bias", (out_dim,)


def _norm(name: str, dim: int) -> Named:
    yield f"{name}.weight", (dim,)
    yield f"{name}.bias", (dim,)


def _whisper_layer(name: str, dim: int, ff: int) -> Named:
    yield from _linear(f"{name}.self_attn.k_proj", dim, dim, bias=False)
    for projection in ("v_proj", "q_proj", "out_proj"):
        yield from _linear(f"{name}.self_attn.{projection}", dim, dim)
    yield from _norm(f"{name}.self_attn_layer_norm", dim)
    yield from _linear(f"{name}.fc1", ff, dim)
    yield from _linear(f"{name}.fc2", dim, ff)
    yield from _norm(f"{name}.final_layer_norm", dim)


def _whisper(sizes: dict[str, Any]) -> Named:
    dim = sizes["d_model"]
    yield "encoder.conv1.weight", (dim, sizes["num_mel_bins"], 3)
    yield "encoder.conv1.bias", (dim,)
    yield "encoder.conv2.weight", (dim, dim, 3)
    yield "encoder.conv2.bias", (dim,)
    yield "encoder.embed_positions.weight", (sizes["max_source_positions"], dim)
    for layer in range(sizes["encoder_layers"]):
        yield from _whisper_layer(f"encoder.layers.{layer}", dim, sizes["encoder_ffn_dim"])
    yield from _norm("encoder.layer_norm", dim)


def _adapter(conf: AdapterConf, encoder_dim: int, llm_dim: int) -> Named:
    if isinstance(conf, LinearConf):
        yield from _linear("adapter.linear1", conf.hidden, conf.stack * encoder_dim)
        yield from _linear("adapter.linear2", llm_dim, conf.hidden)
        if conf.embedding_norm:
            yield from _norm("adapter.norm", llm_dim)
        return
    yield "adapter.conv.weight", (conf.dim, encoder_dim, conf.kernel)
    yield "adapter.conv.bias", (conf.dim,)
    for layer in range(conf.layers):
        yield from _whisper_layer(f"adapter.layers.{layer}", conf.dim, conf.ff)
    yield from _norm("adapter.norm", conf.dim)
    yield from _linear("adapter.projection", llm_dim, conf.dim)


def _complete(sizes: dict[str, Any]) -> dict[str, Any]:
    family = _LLM_DEFAULTS[sizes["model_type"]]
    defaults = {
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "head_dim": None,
    }
    full = {**defaults, **family, **sizes}
    if full["num_key_value_heads"] is None:
        full["num_key_value_heads"] = full["num_attention_heads"]
    if full["head_dim"] is None:
        full["head_dim"] = full["hidden_size"] // full["num_attention_heads"]
    return full


def _llm(sizes: dict[str, Any]) -> Named:
    family = sizes["model_type"]
    dim, ff, head = sizes["hidden_size"], sizes["intermediate_size"], sizes["head_dim"]
    queries = sizes["num_attention_heads"] * head
    keys = sizes["num_key_value_heads"] * head
    # Qwen2 always has biases at query, key and value, and never at the output
    bias = family == "qwen2" or sizes["attention_bias"]
    mlp_bias = family == "llama" and sizes["mlp_bias"]
    yield "llm.model.model.embed_tokens.weight", (sizes["vocab_size"], dim)
    for i in range(sizes["num_hidden_layers"]):
        layer = f"llm.model.model.layers.{i}"
        yield from _linear(f"{layer}.self_attn.q_proj", queries, dim, bias)
        yield from _linear(f"{layer}.self_attn.k_proj", keys, dim, bias)
        yield from _linear(f"{layer}.self_attn.v_proj", keys, dim, bias)
        yield from _linear(f"{layer}.self_attn.o_proj", dim, queries, bias and family != "qwen2")
        if family == "qwen3":
            yield f"{layer}.self_attn.q_norm.weight", (head,)
            yield f"{layer}.self_attn.k_norm.weight", (head,)
        yield from _linear(f"{layer}.mlp.gate_proj", ff, dim, mlp_bias)
        yield from _linear(f"{layer}.mlp.up_proj", ff, dim, mlp_bias)
        yield from _linear(f"{layer}.mlp.down_proj", dim, ff, mlp_bias)
        yield f"{layer}.input_layernorm.weight", (dim,)
        yield f"{layer}.post_attention_layernorm.weight", (dim,)
    yield "llm.model.model.norm.weight", (dim,)
    if not sizes["tie_word_embeddings"]:
        yield "llm.model.lm_head.weight", (sizes["vocab_size"], dim)


def _with_lora(parameters: Named, conf: LoRAConf | None) -> Named:
    """Add LoRA's matrices, and rename the weights that they wrap, as PEFT does."""
    targets = () if conf is None else conf.targets
    named = list(parameters)
    linear = [
        name.removesuffix(".weight")
        for name, shape in named
        if len(shape) == 2 and name.endswith("_proj.weight")
    ]
    hits = {t: [m for m in linear if m == t or m.endswith(f".{t}")] for t in targets}
    for target, modules in hits.items():
        if not modules:
            candidates = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(
                f"lora_conf: targets: {target!r} is no linear module of the LLM; "
                f"there are {', '.join(candidates)}"
            )
    wrapped = {module for modules in hits.values() for module in modules}
    shapes = dict(named)
    for name, shape in named:
        module, _, last = name.rpartition(".")
        if conf is None or module not in wrapped:
            yield name, shape
            continue
        yield f"{module}.base_layer.{last}", shape
        if last == "bias" or f"{module}.bias" not in shapes:
            out_dim, in_dim = shapes[f"{module}.weight"]
            yield f"{module}.lora_A.default.weight", (conf.rank, in_dim)
            yield f"{module}.lora_B.default.weight", (out_dim, conf.rank)
