"""A forward pass as a list of operations: the words in which kinds of encoders and adapters say theirs.

What memory and arithmetic cost follows from such lists (`espnet_part.plan`). A position is one state
that the part puts out for a clip (or, in the LLM, one place of a row).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """A matrix product (or a convolution) at every position.

    Attributes:
        name: the module.
        inputs, outputs: size of the matrix.
        times: how often it is applied a position (2 for a convolution before a stride of 2).
        kept: values of its input a position, kept for the weight's gradient; by default all that it
            reads. A convolution reads each of them more than once.
        shared: the operation before reads the same input.
        rank: of the LoRA beside it, 0 for none.
    """

    name: str
    inputs: int
    outputs: int
    times: float = 1
    kept: float | None = None
    shared: bool = False
    rank: int = 0


@dataclass(frozen=True)
class Norm:
    """LayerNorm, or RMSNorm where ``rms``, over ``width`` values of each position, ``times`` over."""

    name: str
    width: int
    rms: bool = False
    times: float = 1


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention; keys and values are repeated to ``width`` = heads x size.

    Attributes:
        span: positions that a query attends to; 0 for all of the clip's or row's.
        times: queries a position of the part; the clip has as many times more keys as well.
        keys: keys a position of the part, where they are other positions than the queries.
    """

    width: int
    heads: int
    span: int = 0
    times: float = 1
    keys: float | None = None


@dataclass(frozen=True)
class Elementwise:
    """An activation function or a product: ``kept`` values a position stay for the backward pass,
    and ``mask`` bytes (a dropout's mask)."""

    kept: float = 0
    mask: float = 0


Operation = Linear | Norm | Attention | Elementwise


@dataclass(frozen=True)
class Block:
    """Operations that gradient checkpointing, where it is on, recomputes together.

    Attributes:
        layer: a Transformer layer; only these are checkpointed.
        times: states of its input a position.
    """

    operations: tuple[Operation, ...]
    layer: bool = False
    times: float = 1


@dataclass(frozen=True)
class Part:
    """Encoder, adapter or LLM.

    Attributes:
        name: first part of its parameters' names.
        width: of the states between its layers.
        widest: of any intermediate result.
        weight_bytes: of a value of its frozen or trained weights (LoRA's are float32 always).
        checkpointed: gradient checkpointing is on; None where the part has no such option.
        quantized: names of the linear operations whose weights are in 4 bits.
    """

    name: str
    width: int
    widest: int
    blocks: tuple[Block, ...]
    weight_bytes: int = 4
    checkpointed: bool | None = None
    quantized: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EncoderOperations:
    """An encoder's forward pass.

    Attributes:
        dim: width of its states.
        states_per_second: of speech.
        window: states that every clip is padded to; 0 for true lengths.
        silence: states that are computed behind every clip.
    """

    part: Part
    dim: int
    states_per_second: float
    window: int = 0
    silence: int = 0


@dataclass(frozen=True)
class AdapterOperations:
    """An adapter's forward pass.

    Attributes:
        positions: of a clip, from its number of encoder states.
    """

    part: Part
    positions: Callable[[int], int]


def transformer_layer(name: str, width: int, heads: int, ff: int, dropout: float) -> Block:
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
