"""A speech LLM's forward pass as a list of operations, and which of them a phase puts in a graph.

What memory and arithmetic cost follows from this one list (`memory`, `compute`). The kinds of
encoder and adapter say theirs; the LLM's is read from the names and shapes of its parameters, for
families whose layers are like Llama's: attention, a gated MLP, and norms before, behind or within.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.model.adapters import ADAPTERS
from espnet_part.model.config import LLMConf, ModelConfig
from espnet_part.model.encoders import ENCODERS
from espnet_part.model.operations import (
    Attention,
    Block,
    Elementwise,
    Linear,
    Norm,
    Operation,
    Part,
)
from espnet_part.model.protected import protected
from espnet_part.model.shapes import llm_config, model_shapes
from espnet_part.model.sizes import Shape
from espnet_part.plan.batch import Rates


@dataclass(frozen=True)
class Model:
    """What planning needs to know of a model.

    Attributes:
        parts: encoder, adapter, LLM, in the order of the forward pass.
        head: the LLM's output layer, applied to labelled positions only.
        shapes: of all parameters, by name.
        protected: prefixes of those that train only where a selector names them outright.
        rates: from seconds of speech to positions of encoder, adapter and LLM.
    """

    parts: tuple[Part, ...]
    head: Linear
    shapes: Mapping[str, Shape] = field(repr=False)
    protected: tuple[str, ...]
    rates: Rates

    def __getitem__(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    @property
    def is_quantized(self) -> bool:
        """Whether weights are in 4 bits."""
        return any(part.quantized for part in self.parts)

    def without_answers(self) -> Model:
        """As a phase of `loss: adapter` trains it: the LLM's weights are there, but nothing runs it."""
        llm = replace(self["llm"], widest=0, blocks=())
        return replace(self, parts=(*self.parts[:-1], llm), head=replace(self.head, outputs=0))


@dataclass(frozen=True)
class Step:
    """An operation as a phase runs it.

    Attributes:
        weight: its weight trains. lora: the LoRA beside it trains.
        inputs: its input has a gradient. graph: its output has one.
        weight_bytes: of a value of its weight.
    """

    part: Part
    block: int
    operation: Operation
    weight: bool
    lora: bool
    inputs: bool
    weight_bytes: int

    @property
    def graph(self) -> bool:
        return self.weight or self.lora or self.inputs


def describe_model(cfg: ModelConfig) -> Model:
    """List a model's operations.

    Raises:
        ConfigError: an encoder or an LLM whose sizes are not known, or a kind that declares no
            operations.
    """
    encoder_part = ENCODERS.operations(cfg.encoder)
    adapter_part = ADAPTERS.operations(cfg.speech_adapter)
    sizes = llm_config(cfg.llm_conf)
    if sizes is None:
        raise ConfigError(_unknown("llm", cfg.llm_conf, "in model/architectures.yaml"))
    encoder = encoder_part.operations(cfg.encoder_conf)
    if encoder is None:
        raise ConfigError(_unknown("encoder", cfg.encoder_conf, f"of the kind {cfg.encoder}"))
    shapes = model_shapes(cfg)
    llm = _llm(sizes, cfg.llm_conf, shapes)
    vocabulary, width = shapes[f"{_LLM}.embed_tokens.weight"]
    adapter = adapter_part.operations(cfg.speech_adapter_conf, encoder.dim, width)
    return Model(
        parts=(encoder.part, adapter.part, llm),
        head=Linear("llm.model.lm_head", width, vocabulary),
        shapes=shapes,
        protected=protected(cfg.encoder),
        rates=Rates(encoder.states_per_second, adapter.positions, encoder.window, encoder.silence),
    )


def walk(model: Model, trained: Collection[str], held: Collection[str] = ()) -> Iterator[Step]:
    """The operations of the forward pass, with what is in the graph when ``trained`` trains.

    Args:
        trained: full names of the parameters.
        held: of those that are float32 although they do not train now; what trains is float32.
    """
    modules, floats = _modules(trained), _modules(held)
    lora = {name.partition(".lora_")[0] for name in trained if ".lora_" in name}
    flows = False
    for part in model.parts:
        for number, block in enumerate(part.blocks):
            for operation in block.operations:
                name = getattr(operation, "name", "")
                own = name in modules
                size = 4 if own or name in floats else part.weight_bytes
                step = Step(part, number, operation, own, name in lora, flows, size)
                flows = step.graph
                yield step


def _modules(names: Collection[str]) -> set[str]:
    return {name.rpartition(".")[0].removesuffix(".base_layer") for name in names}


def _unknown(part: str, conf: Any, known: str) -> str:
    name = getattr(conf, "name", None) or f"{part}_conf"
    return (
        f"{name}: the sizes of this {part} are not known here (those {known} are): put its "
        "config.json into a directory and give that as `name`"
    )


_LLM = "llm.model.model"
_ATTENTION, _GATE = "attention", "gate"
_LAYER = (  # the operations of a layer in the order of the forward pass; those that it has
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.q_norm",
    "self_attn.k_norm",
    _ATTENTION,
    "self_attn.o_proj",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    _GATE,
    "mlp.down_proj",
    "post_feedforward_layernorm",
)
_NEEDED = {name for name in _LAYER if name.endswith("_proj")}
_SHARED = ("self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj")  # read what the one before reads


def _llm(sizes: Mapping[str, Any], conf: LLMConf, shapes: Mapping[str, Shape]) -> Part:
    layers: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        found = re.fullmatch(rf"({_LLM}\.layers\.\d+)\.([\w.]+?)(\.base_layer)?\.weight", name)
        if found and ".lora_" not in name:
            layers.setdefault(found[1], {})[found[2]] = shape
    known = all(_NEEDED <= layer.keys() <= set(_LAYER) for layer in layers.values())
    if not layers or not known or "num_attention_heads" not in sizes:
        raise ConfigError(
            f"{conf.name or 'llm_conf'}: the layers of {sizes.get('model_type')} are not known here: a "
            "plan needs num_attention_heads, and layers like Llama's (Qwen, Mistral, Gemma, Granite, OLMo)"
        )
    heads = int(sizes["num_attention_heads"])
    kinds = sizes.get("layer_types") or []
    blocks = []
    for number, (name, layer) in enumerate(layers.items()):
        sliding = number < len(kinds) and kinds[number] == "sliding_attention"
        span = int(sizes["sliding_window"]) if sliding else 0
        blocks.append(Block(tuple(_layer(name, layer, heads, span, shapes)), layer=True))
    linear = [f"{name}.{own}" for name, layer in layers.items() for own in layer.keys() & _NEEDED]
    (ff, width), (queries, _) = layer["mlp.gate_proj"], layer["self_attn.q_proj"]
    keys = layer["self_attn.k_proj"][0]
    return Part(
        "llm",
        width,
        max(ff, queries + 2 * keys),
        (*blocks, Block((Norm(f"{_LLM}.norm", width, rms=True),))),
        weight_bytes=2 if conf.dtype == "bfloat16" else 4,
        checkpointed=conf.gradient_checkpointing,
        quantized=frozenset(linear if conf.quantization is not None else ()),
    )


def _layer(
    name: str, layer: Mapping[str, Shape], heads: int, span: int, shapes: Mapping[str, Shape]
) -> Iterator[Operation]:
    queries = layer["self_attn.q_proj"][0]
    for own in _LAYER:
        full = f"{name}.{own}"
        if own == _ATTENTION:
            yield Attention(queries, heads, span)
        elif own == _GATE:  # the activation's input, and both factors of the product
            yield Elementwise(kept=3 * layer["mlp.gate_proj"][0])
        elif own in _NEEDED:
            outputs, inputs = layer[own]
            rank = shapes.get(f"{full}.lora_A.default.weight", (0,))[0]
            yield Linear(full, inputs, outputs, shared=own in _SHARED, rank=rank)
        elif own in layer:  # a norm of heads is over all of them
            projection = layer.get(own.replace("_norm", "_proj"), layer[own])
            yield Norm(full, projection[0], rms=True)
