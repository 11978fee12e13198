"""A speech LLM's forward pass as a list of operations, and which of them a phase puts in a graph.

What memory and arithmetic cost follows from this one list (`memory`, `compute`). It mirrors
transformers' ``WhisperEncoderLayer`` (encoder and adapter) and the decoder layers of Qwen2, Qwen3
and Llama, which differ here only in their norms and sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.model.config import (
    LinearConf,
    LLMConf,
    ModelConfig,
    TransformerCNNConf,
    WhisperEncoderConf,
)
from espnet_part.model.shapes import Shape, model_sizes, parameter_shapes


@dataclass(frozen=True)
class Linear:
    """A matrix product (or a convolution) at every position.

    Attributes:
        name: the module.
        inputs, outputs: size of the matrix.
        times: how often it is applied a position (2 for a convolution before a stride of 2).
        kept: values of its input a position, kept for the weight's gradient; ``inputs`` by default.
        shared: the operation before reads the same input.
        rank: of the LoRA beside it, 0 for none.
    """

    name: str
    inputs: int
    outputs: int
    times: int = 1
    kept: int | None = None
    shared: bool = False
    rank: int = 0


@dataclass(frozen=True)
class Norm:
    """LayerNorm, or RMSNorm where ``rms``, over ``width`` values of each position."""

    name: str
    width: int
    rms: bool = False


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention; keys and values are repeated to ``width`` = heads x size."""

    width: int
    heads: int


@dataclass(frozen=True)
class Elementwise:
    """An activation function or a product: ``kept`` values a position stay for the backward pass,
    and ``mask`` bytes (a dropout's mask)."""

    kept: int = 0
    mask: int = 0


Operation = Linear | Norm | Attention | Elementwise


@dataclass(frozen=True)
class Block:
    """Operations that gradient checkpointing, where it is on, recomputes together.

    Attributes:
        layer: a Transformer layer; only these are checkpointed.
    """

    operations: tuple[Operation, ...]
    layer: bool = False


@dataclass(frozen=True)
class Part:
    """Encoder, adapter or LLM.

    Attributes:
        name: first part of its parameters' names.
        width: of the states between its layers.
        widest: of any intermediate result.
        weight_bytes: of a value of its frozen or trained weights (LoRA's are float32 always).
        checkpointed: gradient checkpointing is on.
    """

    name: str
    width: int
    widest: int
    blocks: tuple[Block, ...]
    weight_bytes: int = 4
    checkpointed: bool = False


@dataclass(frozen=True)
class Model:
    """What planning needs to know of a model.

    Attributes:
        parts: encoder, adapter, LLM, in the order of the forward pass.
        head: the LLM's output layer, applied to labelled positions only.
        shapes: of all parameters, by name.
        downsample: encoder states a position of the adapter and of the LLM.
        window: encoder states that every clip is padded to; 0 for true lengths.
    """

    parts: tuple[Part, ...]
    head: Linear
    shapes: Mapping[str, Shape] = field(repr=False)
    downsample: int
    window: int

    def __getitem__(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)


@dataclass(frozen=True)
class Step:
    """An operation as a phase runs it.

    Attributes:
        weight: its weight trains. lora: the LoRA beside it trains.
        inputs: its input has a gradient. graph: its output has one.
    """

    part: Part
    block: int
    operation: Operation
    weight: bool
    lora: bool
    inputs: bool

    @property
    def graph(self) -> bool:
        return self.weight or self.lora or self.inputs


def describe_model(cfg: ModelConfig) -> Model:
    """List a model's operations.

    Raises:
        ConfigError: an encoder or an LLM whose sizes are not known.
    """
    sizes, shapes = model_sizes(cfg), parameter_shapes(cfg)
    if sizes is None or shapes is None or not isinstance(cfg.encoder_conf, WhisperEncoderConf):
        raise ConfigError(_unknown(cfg))
    encoder, llm = sizes
    conf = cfg.speech_adapter_conf
    width = encoder["d_model"]
    return Model(
        parts=(
            _encoder(encoder, cfg.encoder_conf),
            _adapter(conf, width, llm["hidden_size"]),
            _llm(llm, cfg.llm_conf, shapes),
        ),
        head=Linear("llm.model.lm_head", llm["hidden_size"], llm["vocab_size"]),
        shapes=shapes,
        downsample=conf.stack if isinstance(conf, LinearConf) else conf.downsample,
        window=encoder["max_source_positions"] if cfg.encoder_conf.pad_to_30s else 0,
    )


def walk(model: Model, trained: Collection[str]) -> Iterator[Step]:
    """The operations of the forward pass, with what is in the graph when ``trained`` trains.

    Args:
        trained: full names of the parameters.
    """
    modules = {name.rpartition(".")[0].removesuffix(".base_layer") for name in trained}
    lora = {name.partition(".lora_")[0] for name in trained if ".lora_" in name}
    flows = False
    for part in model.parts:
        for number, block in enumerate(part.blocks):
            for operation in block.operations:
                name = getattr(operation, "name", "")
                step = Step(part, number, operation, name in modules, name in lora, flows)
                flows = step.graph
                yield step


def _unknown(cfg: ModelConfig) -> str:
    if not isinstance(cfg.encoder_conf, WhisperEncoderConf):
        return "encoder: only Whisper's arithmetic is known here, not that of ESPnet's encoders"
    return (
        f"{cfg.encoder_conf.name or 'encoder_conf.config'} with "
        f"{cfg.llm_conf.name or 'llm_conf.config'}: one of them is not known here; put its "
        "config.json into a directory and give that as `name` (Whisper encoders, and LLMs of "
        "the model types qwen2, qwen3 and llama)"
    )


def _transformer_layer(name: str, width: int, heads: int, ff: int, dropout: float) -> Block:
    """transformers' WhisperEncoderLayer."""
    drop = (Elementwise(mask=width),) if dropout else ()
    return Block(
        (
            Norm(f"{name}.self_attn_layer_norm", width),
            Linear(f"{name}.self_attn.q_proj", width, width),
            Linear(f"{name}.self_attn.k_proj", width, width, shared=True),
            Linear(f"{name}.self_attn.v_proj", width, width, shared=True),
            Attention(width, heads),
            Linear(f"{name}.self_attn.out_proj", width, width),
            *drop,
            Norm(f"{name}.final_layer_norm", width),
            Linear(f"{name}.fc1", width, ff),
            Elementwise(kept=ff),
            Linear(f"{name}.fc2", ff, width),
            *drop,
        ),
        layer=True,
    )


def _encoder(sizes: Mapping[str, Any], conf: WhisperEncoderConf) -> Part:
    width, ff, mel = sizes["d_model"], sizes["encoder_ffn_dim"], sizes["num_mel_bins"]
    # two mel frames a state: the second convolution has a stride of 2
    stem = Block(
        (
            Linear("", 201, mel, times=2, kept=0),  # spectrum to mel filters
            Linear("encoder.conv1", 3 * mel, width, times=2, kept=2 * mel),
            Elementwise(kept=2 * width),
            Linear("encoder.conv2", 3 * width, width, kept=2 * width),
            Elementwise(kept=width),
        )
    )
    layers = (
        _transformer_layer(
            f"encoder.layers.{n}",
            width,
            sizes["encoder_attention_heads"],
            ff,
            sizes.get("dropout", 0.0),
        )
        for n in range(sizes["encoder_layers"])
    )
    end = Block((Norm("encoder.layer_norm", width),))
    return Part(
        "encoder",
        width,
        max(ff, 3 * width),
        (stem, *layers, end),
        checkpointed=conf.gradient_checkpointing,
    )


def _adapter(conf: TransformerCNNConf | LinearConf, encoder_dim: int, llm_dim: int) -> Part:
    if isinstance(conf, LinearConf):
        operations: list[Operation] = [
            Linear("adapter.linear1", conf.stack * encoder_dim, conf.hidden),
            Elementwise(kept=conf.hidden, mask=conf.hidden if conf.dropout else 0),
            Linear("adapter.linear2", conf.hidden, llm_dim),
        ]
        if conf.embedding_norm:
            operations.append(Norm("adapter.norm", llm_dim))
        widest = max(conf.hidden, conf.stack * encoder_dim, llm_dim)
        return Part("adapter", llm_dim, widest, (Block(tuple(operations)),))
    stem = Block(
        (
            Linear(
                "adapter.conv",
                conf.kernel * encoder_dim,
                conf.dim,
                kept=conf.downsample * encoder_dim,
            ),
            Elementwise(kept=conf.dim, mask=conf.dim if conf.dropout else 0),
        )
    )
    layers = (
        _transformer_layer(f"adapter.layers.{n}", conf.dim, conf.heads, conf.ff, conf.dropout)
        for n in range(conf.layers)
    )
    end = Block((Norm("adapter.norm", conf.dim), Linear("adapter.projection", conf.dim, llm_dim)))
    return Part("adapter", conf.dim, max(conf.ff, 3 * conf.dim, llm_dim), (stem, *layers, end))


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
