"""States by layer are those of the model, and measures see what is built into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from espnet_part.analysis.layers import Representations, measure
from espnet_part.analysis.parallel import utterances
from espnet_part.analysis.representations import (
    blocks_of,
    speech_layers,
    speech_states,
    text_layers,
    text_states,
)
from espnet_part.data.collate import collate, make_row
from espnet_part.data.datadir import Example

ENCODER = ["encoder.layers.0"]
LLM = ["llm.model.layers.0", "llm.model.layers.1"]


def test_layers_have_names_in_the_order_of_the_forward_pass(model: Any) -> None:
    assert speech_layers(model.model) == [*ENCODER, "adapter", *LLM]
    assert text_layers(model.model) == ["adapter", *LLM]


@torch.no_grad()
def test_speech_states_are_means_over_the_clip(model: Any, examples: list[Example]) -> None:
    """Against transformers' own list of hidden states, for what `SpeechLLM.read` hands to the LLM."""
    row = make_row(examples[0], model.prompts, model.chat, answer=False)
    found = speech_states(model.model, row)
    batch = collate([row], model.chat.pad_token_id)
    prompt, _ = model.model.read(**batch)
    hidden = model.model.llm.model.base_model(
        inputs_embeds=prompt.embeddings, output_hidden_states=True
    ).hidden_states
    first = len(row.tokens.prefix_ids)
    last = int(prompt.lengths[0]) - len(row.tokens.suffix_ids)
    assert last - first > 3
    for layer, expected in (
        ("adapter", prompt.embeddings[0, first:last]),
        (LLM[0], hidden[1][0, first:last]),
    ):
        np.testing.assert_allclose(found[layer], expected.mean(dim=0).numpy(), atol=1e-5)
    kept: list[torch.Tensor] = []  # what the encoder's last norm is given, of its only block
    hook = model.model.encoder.layer_norm.register_forward_pre_hook(lambda _, x: kept.append(x[0]))
    states, _ = model.model.encoder(batch["speech"], batch["speech_lengths"])
    hook.remove()
    expected = kept[0][0, : states.shape[1]].mean(dim=0).numpy()
    np.testing.assert_allclose(found[ENCODER[0]], expected, atol=1e-5)


@torch.no_grad()
def test_silence_behind_a_clip_is_not_averaged_over(model: Any, examples: list[Example]) -> None:
    row = make_row(examples[0], model.prompts, model.chat, answer=False)
    assert row.speech is not None
    length = -(-len(row.speech) // 320)
    encoder = model.model.encoder
    states: list[torch.Tensor] = []
    hook = encoder.layers[0].register_forward_hook(lambda _, __, out: states.append(out))
    own, encoder.silence = encoder.silence, 16000
    try:
        found = speech_states(model.model, row)
    finally:
        hook.remove()
        encoder.silence = own
    assert states[0].shape[1] == length + 50
    expected = states[0][0, :length].mean(dim=0).numpy()
    np.testing.assert_allclose(found[ENCODER[0]], expected, atol=1e-5)


def test_espnets_blocks_are_found_and_convolutions_are_none() -> None:
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

    encoder = ConformerEncoder(80, output_size=16, attention_heads=2, linear_units=16, num_blocks=3)
    assert list(blocks_of(encoder, "encoder")) == [f"encoder.encoders.{n}" for n in range(3)]


@torch.no_grad()
def test_text_states_are_those_of_the_text_in_place_of_the_clip(
    model: Any, examples: list[Example]
) -> None:
    row = make_row(examples[0], model.prompts, model.chat, answer=False)
    found = text_states(model.model, model.tokenizer, row, "Nummer 0")
    ids = model.tokenizer("Nummer 0", add_special_tokens=False)["input_ids"]
    whole = torch.tensor([row.tokens.prefix_ids + ids + row.tokens.suffix_ids])
    hidden = model.model.llm.model.base_model(
        input_ids=whole, output_hidden_states=True
    ).hidden_states
    first = len(row.tokens.prefix_ids)
    for number, layer in ((0, "adapter"), (1, LLM[0])):
        expected = hidden[number][0, first : first + len(ids)].mean(dim=0).numpy()
        np.testing.assert_allclose(found[layer], expected, atol=1e-5)


def test_what_is_built_in_is_measured(examples: list[Example]) -> None:
    """The adapter's states tell languages and pair speech with transcripts; the LLM's pair languages."""
    chosen = utterances(examples, "en", 100, seed=0)
    order = {u.meaning: n for n, u in enumerate(chosen["en"])}
    random = np.random.default_rng(0)
    noise = {lang: random.normal(size=(12, 40)) for lang in ("de", "en")}
    meaning = random.normal(size=(12, 40))
    shared = {lang: meaning[[order[u.meaning] for u in chosen[lang]]] for lang in chosen}
    apart = {lang: noise[lang] + 9 * place for place, lang in enumerate(("de", "en"))}
    layers = [ENCODER[0], "adapter", LLM[0]]
    found = Representations(
        layers,
        speech={x: dict(zip(layers, (apart[x], apart[x], shared[x]), strict=True)) for x in chosen},
        transcript={x: {"adapter": noise[x] + 5, LLM[0]: noise[x]} for x in chosen},
        translation={x: {"adapter": noise[x], LLM[0]: shared[x] + 1} for x in chosen},
    )
    values = {(m.layer, m.kind, m.between): m.value for m in measure(found, chosen, "en", seed=0)}
    assert values[ENCODER[0], "language", "all"] == 1.0
    assert values[LLM[0], "language", "all"] < 0.8
    assert values["adapter", "speech-text", "de"] == 1.0
    assert values[LLM[0], "speech-text", "de"] < 0.5
    assert values[LLM[0], "speech-speech", "de-en"] == 1.0
    assert values["adapter", "speech-speech", "de-en"] < 0.5
    assert values[LLM[0], "cka speech-speech", "de-en"] == pytest.approx(1.0)
    assert values[LLM[0], "speech-translation", "de-en"] == 1.0
    assert (ENCODER[0], "speech-text", "de") not in values
    assert ("adapter", "speech-translation", "en-en") not in values
