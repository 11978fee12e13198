"""The model in vLLM: our encoder and adapter, and the LLM as vLLM has its family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.models.whisper.tokenization_whisper import LANGUAGES
from vllm.config import ModelConfig, SpeechToTextConfig, VllmConfig
from vllm.config.speech_to_text import SpeechToTextParams
from vllm.inputs import TokensPrompt
from vllm.model_executor.models.interfaces import (
    SupportsMultiModal,
    SupportsPP,
    SupportsTranscription,
)
from vllm.model_executor.models.utils import init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.utils.torch_utils import set_default_torch_dtype

from espnet_part.data.prompts import language_name
from espnet_part.errors import ConfigError
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.tasks import ASR, S2TT
from espnet_part.vllm.config import LONGEST, SPEECH_TOKEN
from espnet_part.vllm.processor import SilenceBuilder, SpeechInfo, SpeechProcessor
from espnet_part.vllm.prompts import prompt_tokens
from espnet_part.vllm.speech import Speech

_LLM = "language_model."


@MULTIMODAL_REGISTRY.register_processor(
    SpeechProcessor, info=SpeechInfo, dummy_inputs=SilenceBuilder
)
class PartForConditionalGeneration(
    nn.Module, SupportsMultiModal, SupportsPP, SupportsTranscription
):
    """A speech LLM; see `espnet_part.vllm.config.PartConfig` for what it is made of.

    Encoder and adapter are in float32, and run under autocast where the LLM is not, as in decoding.
    """

    # what vLLM would refuse by itself; any language that has a name is tried
    supported_languages = LANGUAGES

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.dtype = vllm_config.model_config.dtype
        self.rows = config.text_config.vocab_size
        model: Any = self  # where there is no vLLM, type checkers know only torch's base class
        in_float32 = set_default_torch_dtype(torch.float32)
        with model._mark_tower_model(vllm_config, "audio"), in_float32:
            self.speech = Speech(config)
        with model._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config,
                hf_config=config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, speech: Any = (), **_: object) -> list[Tensor]:
        """Embeddings of clips; ``speech`` is a list of (samples,), or (S, samples)."""
        clips = list(speech)
        if not clips:
            return []
        low = self.dtype != torch.float32
        with torch.autocast(clips[0].device.type, self.dtype if low else None, enabled=low):
            return [embeddings.to(self.dtype) for embeddings in self.speech(clips)]

    def embed_input_ids(
        self,
        input_ids: Tensor,
        multimodal_embeddings: Any = None,
        *,
        is_multimodal: Tensor | None = None,
    ) -> Tensor:
        """Embeddings of tokens, and of clips in the places that are theirs."""
        # of the speech token the LLM's table has no row; it stands for clips, and in texts of strangers
        known = input_ids.clamp(max=self.rows - 1)
        return super().embed_input_ids(known, multimodal_embeddings, is_multimodal=is_multimodal)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **_: object,
    ) -> Any:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The LLM's as they come, in vLLM's way; encoder's and adapter's together, none missing."""
        own: dict[str, Tensor] = {}

        def llm_weights() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                if name.startswith(_LLM):
                    yield name.removeprefix(_LLM), tensor
                else:
                    own[name.removeprefix("speech.")] = tensor

        loaded = {_LLM + name for name in self.language_model.load_weights(llm_weights())}
        self.speech.load(own)
        return loaded | {f"speech.{name}" for name in own}

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What stands for a clip in a chat's text."""
        return SPEECH_TOKEN if modality == "audio" else None

    @classmethod
    def validate_language(cls, language: str | None) -> str | None:
        """Any language that prompts can name.

        Raises:
            ValueError: there is none of that code.
        """
        try:
            if language is not None:
                language_name(language)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return language

    @classmethod
    def get_speech_to_text_config(
        cls, model_config: ModelConfig, task_type: Literal["transcribe", "translate"]
    ) -> SpeechToTextConfig:
        return SpeechToTextConfig(sample_rate=SAMPLE_RATE, max_audio_clip_s=LONGEST)

    @classmethod
    def get_generation_prompt(cls, stt_params: SpeechToTextParams) -> TokensPrompt:
        """A clip with the prompt of training for a request's task and languages.

        Raises:
            ValueError: the request names no language, or there is no prompt for it.
        """
        asked = stt_params
        if not asked.language:
            raise ValueError("`language` is missing: the code of the language that is spoken")
        task, written = ASR, asked.language
        if asked.task_type == "translate":
            task, written = S2TT, asked.to_language or "en"  # as OpenAI's translations are
        if wrong := task.why_not(asked.language, written):
            raise ValueError(wrong)
        try:
            tokens = prompt_tokens(
                asked.model_config.hf_config,
                cached_tokenizer_from_config(asked.model_config),
                *(task, asked.language, written, asked.request_prompt),
            )
        except ConfigError as error:
            raise ValueError(str(error)) from None
        audio = (asked.audio, asked.stt_config.sample_rate)
        return TokensPrompt(prompt_token_ids=tokens, multi_modal_data={"audio": audio})

    @classmethod
    def post_process_output(cls, text: str) -> str:
        return text.strip()
