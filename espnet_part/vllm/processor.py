"""vLLM's side of a clip: its samples, and a place in the prompt for each of its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.vllm.config import LONGEST, SPEECH_TOKEN, PartConfig
from espnet_part.vllm.speech import Speech


class SpeechInfo(BaseProcessingInfo):
    """What the model can read: one clip a prompt, as the prompts of training have it."""

    @cached_property
    def speech(self) -> Speech:
        """Counts embeddings."""
        return Speech.sizes(self.ctx.get_hf_config(PartConfig))

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"audio": 1}

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        return {}

    def get_data_parser(self) -> MultiModalDataParser:
        return MultiModalDataParser(target_sr=SAMPLE_RATE, target_channels=1)

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int]
    ) -> Mapping[str, int]:
        return {"audio": self.speech.count(LONGEST * SAMPLE_RATE)}


class SilenceBuilder(BaseDummyInputsBuilder[SpeechInfo]):
    """The longest clip, by which vLLM measures the memory that it needs."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return SPEECH_TOKEN * mm_counts.get("audio", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        count = mm_counts.get("audio", 0)
        return {"audio": self._get_dummy_audios(length=LONGEST * SAMPLE_RATE, num_audios=count)}


class SpeechProcessor(BaseMultiModalProcessor[SpeechInfo]):
    """Hands samples on as they are: the encoder itself computes its features."""

    def _call_hf_processor(
        self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        clips = [torch.as_tensor(clip, dtype=torch.float32) for clip in hf_data["audio"]]
        if not all(len(clip) for clip in clips):
            raise ValueError("the audio is empty")
        return BatchFeature({"speech": clips})

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {"speech": MultiModalFieldConfig.batched("audio")}

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        token = self.info.ctx.get_hf_config(PartConfig).speech_token_id

        def places(item: int) -> list[int]:
            clip = out_mm_kwargs["audio"][item]["speech"].data
            return [token] * self.info.speech.count(len(clip))

        return [PromptReplacement(modality="audio", target=[token], replacement=places)]
