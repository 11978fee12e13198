"""The LLM's tokenizer, and the tokens that end an answer."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from espnet_part.errors import ConfigError
from espnet_part.model.base import file_sha256, find_file
from espnet_part.model.chat_template import read_chat_template
from espnet_part.model.config import LLMConf

_CONFIG = "tokenizer_config.json"
#: What transformers may read a tokenizer from.
TOKENIZER_FILES = (
    _CONFIG,
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def load_tokenizer(conf: LLMConf) -> Any:
    """Load the tokenizer of an LLM. No code of the model's repository is run.

    A missing pad token becomes the end token. That is harmless: attention masks and labels are made
    from positions, never by comparing ids with the pad token.

    Raises:
        ConfigError: no tokenizer there, or neither a pad nor an end token.
    """
    from transformers import AutoTokenizer

    name, revision = tokenizer_source(conf)
    if find_file(name, revision, _CONFIG) is None:
        raise ConfigError(f"{name}: has no {_CONFIG}")
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


def tokenizer_sha256(conf: LLMConf) -> str:
    """The hash of all files that a tokenizer is made from, its chat template among them.

    Raises:
        ConfigError: no tokenizer there.
    """
    name, revision = tokenizer_source(conf)
    digest = hashlib.sha256()
    for filename in TOKENIZER_FILES:
        try:
            path = find_file(name, revision, filename)
        except ConfigError:
            if filename == _CONFIG:
                raise
            path = None  # without a network, a file that the model lacks cannot be told from others
        if path is not None:
            digest.update(f"{filename} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """The control tokens: id -> string.

    They are those marked special, and those in angle or square brackets (``<think>``, ``[INST]``),
    which some tokenizers do not mark. Added tokens of other kinds, such as runs of spaces, are
    ordinary text.
    """
    return {
        index: token.content
        for index, token in tokenizer.added_tokens_decoder.items()
        if len(token.content) > 1 and (token.special or re.fullmatch(r"<.+>|\[.+\]", token.content))
    }


def answer_end_id(tokenizer: Any) -> int:
    """The token behind an answer, which training appends and at which decoding stops.

    It is the control token that the chat template writes there (Qwen: ``<|im_end|>``), else the
    tokenizer's end token.

    Raises:
        ConfigError: the tokenizer has neither, or its chat template fails.
    """
    behind = ""
    if getattr(tokenizer, "chat_template", None):
        behind = read_chat_template(tokenizer).end.lstrip()
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
    if ids and ids[0] in control_tokens(tokenizer):
        return int(ids[0])
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            "the tokenizer has no end token: neither its chat template ends an answer with"
            " a special token nor has it an eos_token"
        )
    return int(tokenizer.eos_token_id)


def end_token_ids(tokenizer: Any, *more: int | list[int] | None) -> list[int]:
    """All tokens at which decoding stops.

    Args:
        tokenizer: may be None.
        more: the ``eos_token_id`` of the model's and of the generation configuration.

    Raises:
        ConfigError: see `answer_end_id`.
    """
    ids: set[int] = set()
    for value in more:
        if value is not None:
            ids.update(value if isinstance(value, list) else [value])
    if tokenizer is not None:
        ids.add(answer_end_id(tokenizer))
        if tokenizer.eos_token_id is not None:
            ids.add(tokenizer.eos_token_id)
    return sorted(ids)


def tokenizer_source(conf: LLMConf) -> tuple[str, str | None]:
    """Name and revision of the repository or directory that the tokenizer is in."""
    # a tokenizer beside the model has a revision of its own, which is not configured
    return conf.tokenizer_name, conf.revision if conf.tokenizer is None else None
