"""Separability and alignment at every layer of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from espnet_part.analysis.alignment import cka, language_accuracy, recall_at_1
from espnet_part.analysis.parallel import Utterance, pairs
from espnet_part.analysis.representations import (
    ADAPTER,
    speech_layers,
    speech_states,
    stacked,
    text_layers,
    text_states,
)
from espnet_part.data.collate import make_row

Array = np.ndarray
States = dict[str, dict[str, Array]]
"""By language and layer, (N, dim): row i belongs to the language's utterance i."""

#: With fewer pairs a recall says nothing.
FEWEST = 10


@dataclass(frozen=True)
class Measure:
    """One figure at one layer.

    Attributes:
        layer: its name; number: its place in the forward pass.
        kind: "language", "speech-text", "speech-translation", "speech-speech", "cka speech-text" or
            "cka speech-speech".
        between: languages, "de" or "de-en".
        value: in [0, 1]. chance: what guessing gives.
        items: what it was measured on (utterances or pairs).
    """

    layer: str
    number: int
    kind: str
    between: str
    value: float
    chance: float
    items: int


@dataclass(frozen=True)
class Representations:
    """What a model makes of a set of utterances: of the speech, its transcript, its translation."""

    layers: list[str]
    speech: States
    transcript: States
    translation: States


def represent(
    model: Any,
    tokenizer: Any,
    prompts: Any,
    chat: Any,
    chosen: Mapping[str, Sequence[Utterance]],
    step: Any = lambda: None,
) -> Representations:
    """Run a model over utterances, one at a time, so that nothing depends on a batch.

    Args:
        model: a `SpeechLLM` in eval mode; tokenizer, prompts, chat: as in decoding.
        chosen: by language. step: called after each utterance.

    Raises:
        BadAudio: a recording cannot be read.
    """
    speech: States = {}
    transcript: States = {}
    translation: States = {}
    for language, utterances in chosen.items():
        rows = []
        for utterance in utterances:
            row = make_row(utterance.example, prompts, chat, answer=False)
            own = text_states(model, tokenizer, row, utterance.example.text)
            pivot = utterance.pivot_text
            other = text_states(model, tokenizer, row, pivot) if pivot else own
            rows.append((speech_states(model, row), own, other))
            step()
        speech[language] = stacked([row[0] for row in rows], speech_layers(model))
        transcript[language] = stacked([row[1] for row in rows], text_layers(model))
        translation[language] = stacked([row[2] for row in rows], text_layers(model))
    return Representations(speech_layers(model), speech, transcript, translation)


def measure(
    found: Representations, chosen: Mapping[str, Sequence[Utterance]], pivot: str, seed: int
) -> list[Measure]:
    """All measures at all layers.

    Args:
        found: of `represent` for ``chosen``. pivot: the language of the translations.
        seed: of the folds of the cross-validation.
    """
    return [
        measure
        for number, layer in enumerate(found.layers)
        for measure in _at_layer(found, chosen, pivot, seed, layer, number)
    ]


def _at_layer(
    found: Representations,
    chosen: Mapping[str, Sequence[Utterance]],
    pivot: str,
    seed: int,
    layer: str,
    number: int,
) -> Iterable[Measure]:
    def result(kind: str, between: str, value: float, chance: float, items: int) -> Measure:
        return Measure(layer, number, kind, between, value, chance, items)

    def retrieval(kind: str, between: str, first: Array, second: Array) -> Iterable[Measure]:
        if len(first) >= FEWEST:
            value = float(np.mean(recall_at_1(first, second)))
            yield result(kind, between, value, 1 / len(first), len(first))

    speech = {language: layers[layer] for language, layers in found.speech.items()}
    languages = [language for language, utts in chosen.items() for _ in utts]
    meanings = [utterance.meaning for utts in chosen.values() for utterance in utts]
    if min(map(len, chosen.values())) >= FEWEST and len(chosen) > 1:
        value = language_accuracy(
            np.concatenate(list(speech.values())), languages, meanings, seed=seed
        )
        yield result("language", "all", value, 1 / len(chosen), len(languages))
    for one, other in combinations(speech, 2):
        both = pairs(chosen[one], chosen[other])
        if len(both) >= FEWEST:
            first, second = (
                speech[lang][[pair[side] for pair in both]]
                for side, lang in enumerate((one, other))
            )
            yield from retrieval("speech-speech", f"{one}-{other}", first, second)
            yield result("cka speech-speech", f"{one}-{other}", cka(first, second), 0.0, len(both))
    if number < found.layers.index(ADAPTER):
        return  # text passes no encoder
    for language, utterances in chosen.items():
        text = found.transcript[language][layer]
        yield from retrieval("speech-text", language, speech[language], text)
        if len(text) >= FEWEST:
            value = cka(speech[language], text)
            yield result("cka speech-text", language, value, 0.0, len(text))
        translated = [i for i, u in enumerate(utterances) if u.pivot_text]
        if language != pivot:
            yield from retrieval(
                "speech-translation",
                f"{language}-{pivot}",
                speech[language][translated],
                found.translation[language][layer][translated],
            )
