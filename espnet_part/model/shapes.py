"""Names and shapes of a model's parameters by arithmetic: no torch, no weights, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.base import find_config, find_file
from espnet_part.model.config import LLMConf, LoRAConf, ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.sizes import Named, Shape, linear, read_sizes

_ARCHITECTURES = Path(__file__).with_name("architectures.yaml")

# What transformers assumes where a config.json is silent.
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

    Knows the kinds that declare their shapes, LoRA, and LLMs of the families Qwen2, Qwen3 and Llama;
    from sizes in the configuration, a local directory, or a hub name in a table.

    Returns:
        None for any other model: `model_shapes` answers then.

    Raises:
        ConfigError: a directory without a config.json, or a LoRA target that the LLM lacks.
    """
    encoder, adapter = ENCODERS.shapes(cfg.encoder), ADAPTERS.shapes(cfg.speech_adapter)
    llm = llm_config(cfg.llm_conf)
    if (
        encoder is None
        or adapter is None
        or llm is None
        or llm.get("model_type") not in _LLM_DEFAULTS
    ):
        return None
    found = encoder.shapes(cfg.encoder_conf)
    if found is None:
        return None
    dim, shapes = found
    return {
        **shapes,
        **adapter.shapes(cfg.speech_adapter_conf, dim, llm["hidden_size"]),
        **dict(_with_lora(_llm(llm), cfg.lora_conf)),
    }


def model_shapes(cfg: ModelConfig) -> dict[str, Shape]:
    """The same of any model; one that is not known by heart is built without memory, which takes
    seconds.

    Raises:
        ConfigError: as `parameter_shapes`, or a base model that is not there, which is told before
            torch is imported.
    """
    shapes = parameter_shapes(cfg)
    if shapes is not None:
        return shapes
    if cfg.llm_conf.name is not None:
        find_config(cfg.llm_conf.name, cfg.llm_conf.revision)
    encoder = cfg.encoder_conf
    for key in ENCODERS.conf(cfg.encoder).MODELS:
        if getattr(encoder, key) is not None:
            find_file(getattr(encoder, key), getattr(encoder, "revision", None), "config.json")
    from espnet_part.model.build import meta_shapes

    return meta_shapes(cfg)


def llm_config(conf: LLMConf) -> dict[str, Any] | None:
    """The sizes of an LLM in the words of its config.json, with what is known that it leaves out.

    Returns:
        None for an unknown name of the hub.

    Raises:
        ConfigError: a directory without a config.json.
    """
    sizes = read_sizes(conf.name, conf.config, _ARCHITECTURES)
    if sizes is None:
        return None
    sizes = sizes.get("text_config", sizes)
    return _complete(sizes) if sizes.get("model_type") in _LLM_DEFAULTS else sizes


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
        yield from linear(f"{layer}.self_attn.q_proj", queries, dim, bias)
        yield from linear(f"{layer}.self_attn.k_proj", keys, dim, bias)
        yield from linear(f"{layer}.self_attn.v_proj", keys, dim, bias)
        yield from linear(f"{layer}.self_attn.o_proj", dim, queries, bias and family != "qwen2")
        if family == "qwen3":
            yield f"{layer}.self_attn.q_norm.weight", (head,)
            yield f"{layer}.self_attn.k_norm.weight", (head,)
        yield from linear(f"{layer}.mlp.gate_proj", ff, dim, mlp_bias)
        yield from linear(f"{layer}.mlp.up_proj", ff, dim, mlp_bias)
        yield from linear(f"{layer}.mlp.down_proj", dim, ff, mlp_bias)
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
            if conf.use_dora:
                yield f"{module}.lora_magnitude_vector.default.weight", (out_dim,)
