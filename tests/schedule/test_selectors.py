"""Selectors match what they say, and an error says what there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_part.errors import ConfigError
from espnet_part.schedule.selectors import select

NAMES = [
    "encoder.conv1.weight",
    "encoder.embed_positions.weight",
    *(f"encoder.layers.{i}.{part}.weight" for i in range(12) for part in ("self_attn.q", "fc1")),
    "encoder.layer_norm.weight",
    "adapter.conv.weight",
    "adapter.layers.0.fc.weight",
    "llm.model.layers.0.q_proj.base_layer.weight",
    "llm.model.layers.0.q_proj.lora_A.default.weight",
    "llm.model.layers.0.q_proj.lora_B.default.weight",
]
PROTECTED = ("encoder.embed_positions", "llm")


def numbers(chosen: list[str]) -> set[int]:
    return {int(name.split(".")[2]) for name in chosen}


@given(st.one_of(st.none(), st.integers(-12, 11)), st.one_of(st.none(), st.integers(-14, 14)))
def test_a_slice_means_what_python_means(start: int | None, stop: int | None) -> None:
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    expected = set(list(range(12))[slice(start, stop)])
    if not expected:
        with pytest.raises(ConfigError):
            select(f"encoder.layers[{text}]", NAMES)
    else:
        assert numbers(select(f"encoder.layers[{text}]", NAMES)) == expected


def test_layer_ten_is_not_mistaken_for_layer_one() -> None:
    assert numbers(select("encoder.layers[1]", NAMES)) == {1}


def test_a_prefix_of_a_name_is_not_that_name() -> None:
    with pytest.raises(ConfigError, match="matches nothing"):
        select("encoder.layer", NAMES)


def test_protected_parameters_train_only_when_named_outright() -> None:
    assert "encoder.embed_positions.weight" not in select("encoder", NAMES, PROTECTED)
    assert select("encoder.embed_positions", NAMES, PROTECTED) == ["encoder.embed_positions.weight"]
    everything = select("*", NAMES, PROTECTED)
    assert not any("base_layer" in name for name in everything)
    assert any("base_layer" in name for name in select("llm.model.layers[0]", NAMES, PROTECTED))


def test_lora_is_selected_apart_from_the_base() -> None:
    chosen = select("llm.lora", NAMES, PROTECTED)
    assert len(chosen) == 2
    assert all(".lora_" in name for name in chosen)


def test_a_wildcard_spans_parts() -> None:
    assert len(select("encoder.*.fc1", NAMES)) == 12


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("decoder", "the model has: adapter, encoder, llm"),
        ("encoder.layer", "encoder.layers"),
        ("encoder.layers[-13:]", "12 blocks"),
        ("encoder.layers[20]", "12 blocks"),
        ("encoder.layers[-8:", "malformed"),
        ("encoder.layers[a]", "malformed"),
        ("adapter.lora", "no LoRA"),
    ],
)
def test_peer_defect_05_a_selector_that_matches_nothing_is_an_error(
    selector: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        select(selector, NAMES, PROTECTED)
