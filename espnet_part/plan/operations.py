"""A speech LLM's forward pass as a list of operations, and which of them a phase puts in a graph.

What memory and arithmetic cost follows from this one list (`memory`, `compute`). The kinds of
encoder and adapter say theirs; the LLM's mirrors transformers' decoder layers of Qwen2, Qwen3 and
Llama, which differ here only in their norms and sizes.
"""

from __future__ import annotations

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
from espnet_part.model.shapes import llm_sizes, model_shapes
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
    llm = llm_sizes(cfg.llm_conf)
    if llm is None:
        raise ConfigError(_unknown("llm", cfg.llm_conf, "of the types qwen2, qwen3 and llama"))
    encoder = encoder_part.operations(cfg.encoder_conf)
    if encoder is None:
        raise ConfigError(_unknown("encoder", cfg.encoder_conf, f"of the kind {cfg.encoder}"))
    adapter = adapter_part.operations(cfg.speech_adapter_conf, encoder.dim, llm["hidden_size"])
    shapes = model_shapes(cfg)
    return Model(
        parts=(encoder.part, adapter.part, _llm(llm, cfg.llm_conf, shapes)),
        head=Linear("llm.model.lm_head", llm["hidden_size"], llm["vocab_size"]),
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


def _llm(sizes: Mapping[str, Any], conf: LLMConf, shapes: Mapping[str, Shape]) -> Part:
    width, ff, head = sizes["hidden_size"], sizes["intermediate_size"], sizes["head_dim"]
    heads = sizes["num_attention_heads"]
    queries, keys = heads * head, sizes["num_key_value_heads"] * head

    def linear(name: str, inputs: int, outputs: int, shared: bool = False) -> Linear:
        rank = shapes.get(f"{name}.lora_A.default.weight", (0,))[0]
        return Linear(name, inputs, outputs, shared=shared, rank=rank)

    def layer(name: str) -> Block:
        attention, mlp = f"{name}.self_attn", f"{name}.mlp"
        head_norms: tuple[Operation, ...] = ()
        if sizes["model_type"] == "qwen3":
            head_norms = (
                Norm(f"{attention}.q_norm", queries, rms=True),
                Norm(f"{attention}.k_norm", keys, rms=True),
            )
        return Block(
            (
                Norm(f"{name}.input_layernorm", width, rms=True),
                linear(f"{attention}.q_proj", width, queries),
                linear(f"{attention}.k_proj", width, keys, shared=True),
                linear(f"{attention}.v_proj", width, keys, shared=True),
                *head_norms,
                Attention(queries, heads),
                linear(f"{attention}.o_proj", queries, width),
                Norm(f"{name}.post_attention_layernorm", width, rms=True),
                linear(f"{mlp}.gate_proj", width, ff),
                linear(f"{mlp}.up_proj", width, ff, shared=True),
                Elementwise(kept=3 * ff),  # SiLU's input, and both factors of the product
                linear(f"{mlp}.down_proj", ff, width),
            ),
            layer=True,
        )

    layers = tuple(layer(f"llm.model.model.layers.{n}") for n in range(sizes["num_hidden_layers"]))
    return Part(
        "llm",
        width,
        max(ff, queries + 2 * keys),
        (*layers, Block((Norm("llm.model.model.norm", width, rms=True),))),
        weight_bytes=2 if conf.dtype == "bfloat16" else 4,
        checkpointed=conf.gradient_checkpointing,
    )
