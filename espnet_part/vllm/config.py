"""The config.json of a model for vLLM; `espnet_part.pack.vllm` writes it, vLLM reads it."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

ARCHITECTURE = "PartForConditionalGeneration"
#: Stands in a prompt for an embedding of speech. It is beyond all tokens that the LLM was trained with.
SPEECH_TOKEN = "<|espnet_part_speech|>"
#: Seconds of the longest clip that vLLM keeps room for; its server cuts longer files.
LONGEST = 30


class PartConfig(PreTrainedConfig):
    """All that makes the model, but for its weights and its tokenizer.

    Args:
        text_config: the LLM's, as transformers has it.
        encoder, encoder_conf, speech_adapter, speech_adapter_conf: as in a model file; no setting names
            a file.
        prompts: the content of a prompts file.
        speech_token_id: the number of `SPEECH_TOKEN`.
    """

    model_type = "espnet_part"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012  # as transformers has it

    def __init__(
        self,
        text_config: dict[str, Any] | None = None,
        encoder: str = "",
        encoder_conf: dict[str, Any] | None = None,
        speech_adapter: str = "",
        speech_adapter_conf: dict[str, Any] | None = None,
        prompts: dict[str, Any] | None = None,
        speech_token_id: int = 0,
        **more: Any,
    ) -> None:
        llm = dict(text_config or {"model_type": "llama"})  # transformers asks for defaults
        self.text_config = CONFIG_MAPPING[llm["model_type"]](**llm)
        self.encoder = encoder
        self.encoder_conf = encoder_conf or {}
        self.speech_adapter = speech_adapter
        self.speech_adapter_conf = speech_adapter_conf or {}
        self.prompts = prompts or {}
        self.speech_token_id = speech_token_id
        super().__init__(**more)
