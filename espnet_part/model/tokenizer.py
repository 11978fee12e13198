"""The LLM's tokenizer, and the tokens that end an answer."""

from __future__ import annotations

from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.model.base import find_file
from espnet_part.model.config import LLMConf

_MARK = "0123456789"


def load_tokenizer(conf: LLMConf) -> Any:
    """Load the tokenizer of an LLM. No code of the model's repository is run.

    A missing pad token becomes the end token. That is harmless: attention masks and labels are made
    from positions, never by comparing ids with the pad token.

    Raises:
        ConfigError: no tokenizer there, or neither a pad nor an end token.
    """
    from transformers import AutoTokenizer

    name = conf.tokenizer_name
    # a tokenizer beside the model has a revision of its own, which is not configured
    revision = conf.revision if conf.tokenizer is None else None
    if find_file(name, revision, "tokenizer_config.json") is None:
        raise ConfigError(f"{name}: has no tokenizer_config.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=revision or "main", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{name}: its tokenizer cannot be loaded: {reason}") from None
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ConfigError(f"{name}: its tokenizer has neither an end nor a pad token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def turn_end_id(tokenizer: Any) -> int | None:
    """The special token that the chat template writes behind an answer (Qwen: ``<|im_end|>``).

    Returns:
        None where there is no chat template, or it ends an answer without a special token.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        return None
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    behind = text[text.rindex(_MARK) + len(_MARK) :].lstrip()
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return ids[0] if ids and ids[0] in special else None


def answer_end_id(tokenizer: Any) -> int:
    """The token put behind an answer in training: the template's, else the tokenizer's end token.

    Raises:
        ConfigError: the tokenizer has neither.
    """
    end = turn_end_id(tokenizer)
    if end is None:
        end = tokenizer.eos_token_id
    if end is None:
        raise ConfigError(f"{tokenizer.name_or_path}: the tokenizer has no end token")
    return end


def end_token_ids(tokenizer: Any, *more: int | list[int] | None) -> list[int]:
    """All tokens at which decoding stops.

    Args:
        tokenizer: may be None.
        more: the ``eos_token_id`` of the model's and of the generation configuration.
    """
    ids: set[int] = set()
    for value in more:
        if value is not None:
            ids.update(value if isinstance(value, list) else [value])
    if tokenizer is not None:
        ids.update(i for i in (tokenizer.eos_token_id, turn_end_id(tokenizer)) if i is not None)
    return sorted(ids)
