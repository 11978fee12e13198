"""What the phases of a stage and its validation read, planned before the first step."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

import torch

from espnet_part.data.dataset import PhaseData
from espnet_part.data.stage_data import SpeechSide, StageData, log_dropped, log_mixtures
from espnet_part.schedule.schedule import Schedule, Trainable


class Planning:
    """Chooses the data of a stage by its schedule.

    Args:
        model: A SpeechLLM.
        trainable: What each phase trains.
        train_data, valid_data: This rank's share of the data.
    """

    def __init__(
        self,
        model: Any,
        schedule: Schedule,
        trainable: Sequence[Trainable],
        train_data: StageData,
        valid_data: StageData,
    ) -> None:
        self._schedule = schedule
        self._trainable = trainable
        self._train_data = train_data
        self._valid_data = valid_data
        self._speech = _speech_side(model)

    def phases(self, ever_trained: Collection[str]) -> list[PhaseData]:
        """The data of all phases, so that what they and the validation lack is said at once.

        Args:
            ever_trained: parameters that have been trained by now.
        """
        trained, data = set(ever_trained), []
        for phase, trainable in zip(self._schedule.phases, self._trainable, strict=True):
            trained |= trainable.names
            where = f"{self._schedule.where}: phase {phase.name}"
            untouched = _is_encoder_untouched(trained)
            data.append(self._train_data.phase(phase, self._speech, untouched, where))
        names = [phase.name for phase in self._schedule.phases]
        log_mixtures(dict(zip(names, data, strict=True)), self._schedule.where)
        validation = self.validation(ever_trained)
        log_dropped(validation, "validation")
        lacking = set(self._schedule.tasks) - {stratum[0] for stratum in validation.counts()}
        if lacking:
            logging.warning(
                "validation: no example of %s, which the stage trains: how well it learns that is "
                "not measured",
                " and ".join(sorted(lacking)),
            )
        return data

    def validation(self, ever_trained: Collection[str]) -> PhaseData:
        """The data of a validation: the cached features of an encoder as long as it is as it was."""
        untouched = _is_encoder_untouched(ever_trained)
        return self._valid_data.validation(self._schedule.tasks, self._speech, untouched)


def _speech_side(model: Any) -> SpeechSide:
    """How long speech becomes in ``model``, and what its encoder was loaded from."""

    def lengths(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = model.encoder.output_lengths(samples)
        return frames, model.adapter.output_lengths(frames)

    bases: list[dict[str, Any]] = model.base_models()
    base = next((b for b in bases if b["part"] == "encoder"), {})
    fingerprint = {key: base.get(key) for key in ("config_sha256", "fingerprint")}
    return SpeechSide(lengths, fingerprint, model.llm.max_length)


def _is_encoder_untouched(ever_trained: Collection[str]) -> bool:
    return not any(name.startswith("encoder.") for name in ever_trained)
