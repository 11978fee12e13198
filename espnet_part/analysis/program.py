"""An analysis from models and data to pictures: what is made for a model is kept and not made again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_part.analysis import document
from espnet_part.analysis.checkpoints import PhaseModel, file_name
from espnet_part.analysis.groups import draw_batches, group_of
from espnet_part.analysis.layers import Measure
from espnet_part.analysis.parallel import utterances
from espnet_part.analysis.similarity import Similarity, similarity
from espnet_part.analysis.store import examples_digest, kept, model_digest
from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.data.datadir import Example
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.errors import DataError
from espnet_part.progress import open_bar

#: A projection is drawn at these layers of each part: its first, its middle and its last.
_PLACES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Settings:
    """Of an analysis.

    Attributes:
        batches: of each group, for gradients. batch_size: examples of each batch.
        groups: only these, such as "asr de"; none for all.
        utterances: of each language, for representations, at most.
        pivot: the language whose texts tell which utterances say the same.
        memory: bytes of gradients kept at a time.
        seed: of what is drawn. device: as torch names it.
    """

    batches: int = 8
    batch_size: int = 8
    groups: tuple[str, ...] = ()
    utterances: int = 100
    pivot: str = "en"
    memory: float = 2e9
    seed: int = 0
    device: str = "cpu"


class GradientAnalysis:
    """Matrices of the similarity of gradients, on the same batches for every model.

    Args:
        examples: of any tasks and languages. out: where results go.

    Raises:
        DataError: too few examples, or a group that the data have not.
    """

    def __init__(self, examples: Sequence[Example], settings: Settings, out: Path) -> None:
        known = sorted({group_of(example) for example in examples})
        for group in settings.groups:
            if group not in known:
                raise DataError(f"--groups: {group}: the data have {', '.join(known)}")
        wanted = settings.groups or known
        self.batches = draw_batches(
            [example for example in examples if group_of(example) in wanted],
            settings.batches,
            settings.batch_size,
            settings.seed,
        )
        self.settings = settings
        self.out = out

    def run(self, models: Sequence[PhaseModel]) -> list[document.Entry]:
        """For each system the way through its phases, and for each model its matrices."""
        found = {model: self._results(model) for model in models}
        entries = []
        for system in dict.fromkeys(model.system for model in models):
            phases = {m.name: results for m, (results, _) in found.items() if m.system == system}
            pairs = any(len(r.groups) > 1 for results in phases.values() for r in results.values())
            if len(phases) > 1 and pairs:
                entries.append(document.phases_entry(self.out, system, phases))
        names = [group for group, _ in self.batches]
        drawn = [names.count(name) for name in dict.fromkeys(names)]
        size = f"{min(drawn)} to {max(drawn)} batches of {self.settings.batch_size} a group."
        return entries + [
            document.gradient_entry(self.out, model.system, model.name, results, size, sketched)
            for model, (results, sketched) in found.items()
        ]

    def _results(self, model: PhaseModel) -> tuple[dict[str, Similarity], bool]:
        settings = self.settings
        made_of = {
            "model": model_digest(model),
            "examples": examples_digest([e for _, batch in self.batches for e in batch]),
            "settings": [settings.batch_size, settings.memory, settings.seed, settings.device],
        }
        path = self.out / "results" / f"{file_name('gradients', model.system, model.key)}.json"
        found = kept(path, made_of, lambda: self._make(model))
        groups = [group for group, _ in self.batches]
        results = {
            module: similarity(np.array(products), groups, settings.seed)
            for module, products in found["products"].items()
            if np.any(products)
        }
        return results, any(found["sketched"].values())

    def _make(self, model: PhaseModel) -> dict[str, Any]:
        from espnet_part.analysis.gradients import gradient_products, training_batch

        loaded = _load(model, self.settings)
        with open_bar(
            f"gradients {model.system} {model.name}", len(self.batches), "batches"
        ) as bar:

            def batches() -> Any:
                for group, examples in self.batches:
                    batch, bad = training_batch(examples, loaded.prompts, loaded.chat)
                    for utt, reason in bad:
                        logging.warning("%s: left out: %s", utt, reason)
                    if len(bad) == len(examples):
                        raise DataError(
                            f"{group}: no audio of a batch can be read, such as {bad[0][0]}"
                        )
                    yield batch
                    bar.update()

            gram = gradient_products(
                loaded.model, batches(), len(self.batches), self.settings.memory, self.settings.seed
            )
        return {
            "products": {module: products.tolist() for module, products in gram.products.items()},
            "loss": gram.loss.tolist(),
            "sketched": gram.sketched,
        }


class LayerAnalysis:
    """Separability and alignment at every layer, on the same utterances for every model.

    Args:
        examples: transcribed recordings, and the same ones translated. out: where results go.

    Raises:
        DataError: too few utterances.
    """

    def __init__(self, examples: Sequence[Example], settings: Settings, out: Path) -> None:
        chosen = utterances(examples, settings.pivot, settings.utterances, settings.seed)
        self.chosen = {
            lang: [u for u in utts if _is_readable(u.example)] for lang, utts in chosen.items()
        }
        self.settings = settings
        self.out = out

    def run(self, models: Sequence[PhaseModel]) -> list[document.Entry]:
        """Curves over layers, for each system and between systems, and a projection of each model."""
        found = {model: self._results(model) for model in models}
        systems = list(dict.fromkeys(model.system for model in models))
        entries = [
            document.layers_entry(
                self.out,
                f"Languages and alignment by layer: {system}",
                file_name("layers", system),
                {m.name: measures for m, (measures, _) in found.items() if m.system == system},
            )
            for system in systems
        ]
        if len(systems) > 1:
            ends = {model.system: measures for model, (measures, _) in found.items()}
            title = "Languages and alignment by layer: each system at its end"
            entries.append(document.layers_entry(self.out, title, "layers_systems", ends))
        for model, (_, states) in found.items():
            title = f"Speech in two dimensions: {model.system}, {model.name}"
            name = file_name("projection", model.system, model.key)
            entries.append(document.projection_entry(self.out, title, name, states))
        return entries

    def _results(self, model: PhaseModel) -> tuple[list[Measure], dict[str, dict[str, np.ndarray]]]:
        heard = [u.example for utts in self.chosen.values() for u in utts]
        made_of = {
            "model": model_digest(model),
            "examples": examples_digest(heard),
            "translations": [u.pivot_text for utts in self.chosen.values() for u in utts],
            "settings": [self.settings.pivot, self.settings.seed],
        }
        path = self.out / "results" / f"{file_name('layers', model.system, model.key)}.json"
        found = kept(path, made_of, lambda: self._make(model))
        states = {
            layer: {language: np.array(rows) for language, rows in by_language.items()}
            for layer, by_language in found["states"].items()
        }
        return [Measure(**item) for item in found["measures"]], states

    def _make(self, model: PhaseModel) -> dict[str, Any]:
        from espnet_part.analysis.layers import measure, represent

        loaded = _load(model, self.settings)
        total = sum(map(len, self.chosen.values()))
        with open_bar(f"layers {model.system} {model.name}", total, "utterances") as bar:
            found = represent(
                loaded.model, loaded.tokenizer, loaded.prompts, loaded.chat, self.chosen, bar.update
            )
        measures = measure(found, self.chosen, self.settings.pivot, self.settings.seed)
        return {
            "measures": [asdict(m) for m in measures],
            "states": {
                layer: {
                    language: np.round(layers[layer], 4).tolist()
                    for language, layers in found.speech.items()
                }
                for layer in _drawn(found.layers)
            },
        }


def _is_readable(example: Example) -> bool:
    try:
        read_audio(example)
    except BadAudio as error:
        logging.warning("%s: left out: %s", example.utt_id, error)
        return False
    return True


def _load(model: PhaseModel, settings: Settings) -> Speech2Text:
    return Speech2Text(model.config, model.weights, settings.device, merge_lora=False)


def _drawn(layers: Sequence[str]) -> list[str]:
    """The layers whose representations are drawn: some of the encoder, the adapter, some of the LLM."""
    parts: dict[str, list[str]] = {}
    for layer in layers:
        parts.setdefault(layer.partition(".")[0], []).append(layer)
    chosen = [part[round(p * (len(part) - 1))] for part in parts.values() for p in _PLACES]
    return list(dict.fromkeys(chosen))
