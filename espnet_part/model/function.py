"""What a model computes beside its weights: a digest of each part, kept with trained weights."""

from __future__ import annotations

import dataclasses
from typing import Any

from espnet_part.model.base import json_sha256
from espnet_part.model.chat_template import read_chat_template
from espnet_part.model.config import ModelConfig
from espnet_part.model.tokenizer import answer_end_id

#: Settings that say where a base model is (it is compared by its own hashes), how it is computed,
#: or how it is trained, and do not change what a part computes.
_NO_FUNCTION = (
    *("name", "revision", "config", "train_config", "model_file", "tokenizer"),
    *("dtype", "attention", "gradient_checkpointing", "dropout"),
    *("time_masks", "time_mask_width", "noise", "specaug_conf"),
)


def function_digests(cfg: ModelConfig, tokenizer: Any = None) -> dict[str, str]:
    """Digests of the encoder, the adapter, LoRA (where there is one) and the tokenizer (if given).

    A tokenizer is its vocabulary, what its chat template writes around texts, and the token that
    ends an answer; how its files are written does not matter.
    """
    digests = {
        "encoder": conf_digest(cfg.encoder, cfg.encoder_conf),
        "adapter": conf_digest(cfg.speech_adapter, cfg.speech_adapter_conf),
        "llm": conf_digest("llm", cfg.llm_conf),
    }
    if cfg.lora_conf is not None:
        digests["lora"] = conf_digest("lora", cfg.lora_conf)
    if tokenizer is not None:
        template = None
        if getattr(tokenizer, "chat_template", None):
            template = list(read_chat_template(tokenizer))
        content = [tokenizer.get_vocab(), template, answer_end_id(tokenizer)]
        digests["tokenizer"] = json_sha256(content)
    return digests


def conf_digest(kind: str, conf: Any) -> str:
    """The hash of a kind and those of its settings, a dataclass, that decide what it computes.

    Two kinds with the same settings differ. What a setting leaves to the base model's files counts as
    those files say (see `espnet_part.model.kinds.ConfPart`).
    """
    if hasattr(conf, "resolved"):
        conf = conf.resolved()
    defaults = {field.name: field.default for field in dataclasses.fields(conf)}
    values = {
        name: value
        for name, value in dataclasses.asdict(conf).items()
        # a setting that a later version adds does not change what a part computes without it
        if name not in _NO_FUNCTION and value != defaults[name]
    }
    return json_sha256([kind, values])
