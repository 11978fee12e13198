"""The list of operations against the modules themselves."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from espnet_part.errors import ConfigError
from espnet_part.model.operations import Attention, Linear, Norm
from espnet_part.plan.operations import Model, describe_model, walk
from tests.model.tiny import LORA, make_config
from tests.plan.measure import MOE, PHASES, QFORMER, small_config, small_model

LARGE_V3 = {
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "num_mel_bins": 128,
}
ADAPTER = {"dim": 1280, "heads": 20, "ff": 5120}


def public(encoder: str, llm: str) -> Model:
    return describe_model(
        make_config(
            encoder_conf={"name": encoder},
            llm_conf={"name": llm},
            speech_adapter_conf=ADAPTER,
            lora_conf=LORA,
        )
    )


def in_part(model: Model, prefix: str) -> int:
    return sum(math.prod(shape) for name, shape in model.shapes.items() if name.startswith(prefix))


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("openai/whisper-large-v3", LARGE_V3),
        (
            "openai/whisper-small",
            {
                "d_model": 768,
                "encoder_layers": 12,
                "encoder_attention_heads": 12,
                "encoder_ffn_dim": 3072,
                "num_mel_bins": 80,
            },
        ),
    ],
)
def test_whisper_has_as_many_parameters_as_transformers_own(
    name: str, sizes: dict[str, Any]
) -> None:
    import torch
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        encoder = WhisperEncoder(WhisperConfig(**sizes))
    counted = in_part(public(name, "Qwen/Qwen2.5-0.5B"), "encoder.")
    assert counted == sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("0.5B", (896, 24, 14, 2, 4864, 151936, True)),
        ("1.5B", (1536, 28, 12, 2, 8960, 151936, True)),
        ("7B", (3584, 28, 28, 4, 18944, 152064, False)),
    ],
)
def test_qwen_has_as_many_parameters_as_transformers_own(name: str, sizes: tuple[Any, ...]) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    hidden, layers, heads, key_heads, ff, vocabulary, tied = sizes
    config = Qwen2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=ff,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        llm = Qwen2ForCausalLM(config)
    model = public("openai/whisper-tiny", f"Qwen/Qwen2.5-{name}-Instruct")
    lora = sum(math.prod(shape) for n, shape in model.shapes.items() if ".lora_" in n)
    # rank x (inputs + outputs) of query and value in every layer
    keys = key_heads * hidden // heads
    assert lora == layers * LORA["rank"] * (2 * hidden + hidden + keys)
    assert in_part(model, "llm.") - lora == sum(p.numel() for p in llm.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_conf": {**LORA, "targets": ["o_proj", "down_proj", "k_proj"]}},
        {"speech_adapter": "linear", "speech_adapter_conf": {"stack": 3, "hidden": 10}},
        QFORMER,
        MOE,
        {"llm": {"model_type": "qwen3", "head_dim": 24}},
        {"llm": {"model_type": "llama"}},
        {"llm": {"model_type": "mistral"}},
        {"llm": {"model_type": "gemma3_text", "head_dim": 24}},
        {"llm": {"model_type": "olmo2"}},
        {"llm": {"model_type": "granite"}},
    ],
    ids=str,
)
def test_every_matrix_is_an_operation_of_its_size(changes: dict[str, Any]) -> None:
    model = describe_model(small_config(**changes))
    linear: dict[str, int] = {}
    ranks: dict[str, int] = {}
    norms: set[str] = set()
    for step in walk(model, set()):
        if isinstance(step.operation, Linear) and step.operation.name:
            linear[step.operation.name] = step.operation.inputs * step.operation.outputs
            ranks[step.operation.name] = step.operation.rank
        elif isinstance(step.operation, Norm):
            norms.add(step.operation.name)
    rest = {}
    for name, shape in model.shapes.items():
        module, _, kind = name.rpartition(".")
        module = module.removesuffix(".base_layer")
        if found := re.match(r"(.*)\.lora_(A|B)\.default", module):
            assert ranks[found[1]] in shape
        elif module in linear:
            assert kind == "bias" or linear[module] == math.prod(shape)
        elif module not in norms:
            rest[name] = shape
    tables = {"encoder.embed_positions.weight", "llm.model.model.embed_tokens.weight"}
    assert set(rest) - {"adapter.queries"} == tables
    assert {name for name, rank in ranks.items() if rank} == {
        name.partition(".lora_")[0] for name in model.shapes if ".lora_" in name
    }


@pytest.mark.parametrize("phase", PHASES)
def test_the_graph_begins_where_training_does(phase: str) -> None:
    _, trained = small_model(small_config(), phase)
    steps = list(walk(describe_model(small_config()), trained))
    first = next(n for n, step in enumerate(steps) if step.graph)
    assert not any(step.inputs for step in steps[: first + 1])
    assert all(step.inputs for step in steps[first + 1 :])
    starts = {"encoder_top": "encoder.layers.2.self_attn_layer_norm"}
    starts |= dict.fromkeys(["encoder_all", "joint"], "encoder.conv1")
    assert steps[first].operation.name == starts.get(phase, "adapter.conv")  # type: ignore[union-attr]
    own = {step.operation.name for step in steps if step.weight}  # type: ignore[union-attr]
    modules = {
        n.rpartition(".")[0].removesuffix(".base_layer") for n in trained if ".lora_" not in n
    }
    assert own == modules - {"llm.model.model.embed_tokens"}


def test_an_unknown_model_is_named_with_a_way_out() -> None:
    cfg = make_config(llm_conf={"name": "somebody/new-llm"})
    with pytest.raises(ConfigError, match=r"somebody/new-llm.*config\.json into a directory"):
        describe_model(cfg)


@pytest.mark.parametrize("family", ["mixtral", "gpt_neox"])
def test_a_family_of_other_layers_is_named(family: str) -> None:
    with pytest.raises(ConfigError, match=f"the layers of {family} are not known here"):
        describe_model(small_config(llm={"model_type": family}, lora_conf=None))


def test_a_layer_that_sees_a_window_attends_to_no_more() -> None:
    kinds = ["sliding_attention", "full_attention"]
    llm = {"model_type": "gemma3_text", "head_dim": 24, "num_hidden_layers": 2, "sliding_window": 7}
    model = describe_model(small_config(llm={**llm, "layer_types": kinds}))
    attention = [
        op for block in model["llm"].blocks for op in block.operations if isinstance(op, Attention)
    ]
    assert [operation.span for operation in attention] == [7, 0]


def test_a_local_directory_is_known_by_its_config(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96,'
        ' "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 50}'
    )
    model = describe_model(make_config(llm_conf={"name": str(tmp_path)}))
    assert (model.head.inputs, model.head.outputs) == (64, 50)
