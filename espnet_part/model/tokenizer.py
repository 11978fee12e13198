"""The LLM's tokenizer, and the tokens that end an answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_part.display import plain
from espnet_part.errors import ConfigError
from espnet_part.model.base import file_sha256, find_files
from espnet_part.model.chat_template import read_chat_template
from espnet_part.model.config import LLMConf
from espnet_part.parsing import read_json_object

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


#: Any of them holds a vocabulary.
_VOCABULARIES = frozenset(
    ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
) | {"sentencepiece.bpe.model"}
_SAMPLE = "Hello 1"  # in any vocabulary there is
_CONTROL = re.compile(r"<\|[^<>|\s]+\|>")
_PADDING = (1024, 0.1)  # rows and share of an embedding table that may be there for a round size


def find_tokenizer(conf: LLMConf) -> dict[str, Path]:
    """The files that a tokenizer is made from, fetched where they are not here.

    Raises:
        ConfigError: no tokenizer there.
    """
    name, revision = tokenizer_source(conf)
    # the configuration is fetched last: where it is, with a vocabulary, everything is
    wanted = ("config.json", *reversed(TOKENIZER_FILES))
    found = find_files(
        name, revision, wanted, lambda have: _CONFIG in have and bool(have & _VOCABULARIES)
    )
    if _CONFIG not in found:
        raise ConfigError(f"{name}: has no {_CONFIG}")
    return found


def load_tokenizer(conf: LLMConf) -> Any:
    """Load the tokenizer of an LLM. No code of the model's repository is run.

    A missing pad token becomes the end token. That is harmless: attention masks and labels are made
    from positions, never by comparing ids with the pad token.

    Raises:
        ConfigError: no tokenizer there, or one without a vocabulary or an end token.
    """
    from transformers import AutoTokenizer

    name = conf.tokenizer_name
    files = find_tokenizer(conf)
    try:
        # from the files themselves: given a hub's name, transformers asks the hub for more
        tokenizer = AutoTokenizer.from_pretrained(files[_CONFIG].parent, trust_remote_code=False)
    except (
        Exception
    ) as error:  # whatever is in the files: KeyError, AttributeError, the tokenizers'
        reason = plain(" ".join(f"{type(error).__name__}: {error}".split()), 300)
        raise ConfigError(f"{name}: its tokenizer cannot be loaded: {reason}") from None
    _check_tokenizer(tokenizer, files, name)
    if tokenizer.pad_token_id is None:
        eos = tokenizer.eos_token_id
        tokenizer.pad_token_id = answer_end_id(tokenizer) if eos is None else eos
    return tokenizer


def _check_tokenizer(tokenizer: Any, files: Mapping[str, Path], name: str) -> None:
    """transformers makes an empty tokenizer where the vocabulary is missing, and says nothing."""
    if not files.keys() & _VOCABULARIES:
        raise ConfigError(
            f"{name}: its tokenizer has no vocabulary ({', '.join(sorted(_VOCABULARIES))})"
        )
    ids = tokenizer(_SAMPLE, add_special_tokens=False)["input_ids"]
    back = tokenizer.decode(ids, skip_special_tokens=True)
    if "".join(back.split()).casefold() != "".join(_SAMPLE.split()).casefold():
        raise ConfigError(
            f"{name}: its tokenizer is incomplete: {_SAMPLE!r} comes back as {plain(back, 40)!r} "
            f"(of {len(tokenizer)} tokens); copy all its files ({', '.join(TOKENIZER_FILES[:3])}, …)"
        )
    try:
        answer_end_id(tokenizer)
        written = read_chat_template(tokenizer) if tokenizer.chat_template else ()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    end = tokenizer.eos_token
    if end is not None and not _is_stored(end, files):
        raise ConfigError(
            f"{name}: its end token {plain(end, 40)!r} is not in the vocabulary; mend eos_token in "
            f"{_CONFIG}, or copy the tokenizer's files anew"
        )
    vocabulary = tokenizer.get_vocab()
    for token in _CONTROL.findall("".join(written)):
        pieces = tokenizer(token, add_special_tokens=False)["input_ids"]
        if token in vocabulary and pieces != [vocabulary[token]]:
            raise ConfigError(
                f"{name}: its chat template writes {token}, which is in the vocabulary but not "
                "among the special tokens (added_tokens of tokenizer.json): they are missing"
            )


def _is_stored(token: str, files: Mapping[str, Path]) -> bool:
    """Whether a token is in the files; transformers gives one that is not a new number."""
    searched = [f for f in ("tokenizer.json", "added_tokens.json", "vocab.json") if f in files]
    if not {"tokenizer.json", "vocab.json"} & set(searched):
        return True  # in a binary format
    wanted = {json.dumps(token).encode(), json.dumps(token, ensure_ascii=False).encode()}
    contents = [files[name].read_bytes() for name in searched]
    # the configuration itself names it as well: there it counts only among the added tokens
    added = read_json_object(files[_CONFIG], largest=1 << 26).get("added_tokens_decoder")
    contents.append(json.dumps(added).encode())
    return any(string in content for string in wanted for content in contents)


def check_vocabulary(tokenizer: Any, rows: int) -> None:
    """Compare a tokenizer with the LLM's embedding table, which has a row for each of its tokens.

    Tables are often larger, up to a round number. Control tokens beyond the table, such as a text
    model's for images, do no harm where nothing writes them.

    Raises:
        ConfigError: they do not belong together.
    """
    control = control_tokens(tokenizer)
    vocabulary = tokenizer.get_vocab()
    largest = max((index for index in vocabulary.values() if index not in control), default=0)
    spare, share = _PADDING
    if largest >= rows or rows - len(vocabulary) > max(spare, share * rows):
        raise ConfigError(
            f"{tokenizer.name_or_path}: the tokenizer has {len(vocabulary)} tokens, the LLM's "
            f"embedding table {rows} rows: they do not belong together"
        )
    needed = {answer_end_id(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id}
    if tokenizer.chat_template:
        for text in read_chat_template(tokenizer):
            needed.update(tokenizer(text, add_special_tokens=False)["input_ids"])
    for index in sorted(needed - {None}):
        if index >= rows:
            raise ConfigError(
                f"{tokenizer.name_or_path}: the token {tokenizer.convert_ids_to_tokens(index)} is "
                f"not in the vocabulary: it was given the number {index}, and the LLM's embedding "
                f"table has {rows} rows; copy the tokenizer's files anew"
            )


def tokenizer_sha256(conf: LLMConf) -> str:
    """The hash of all files that a tokenizer is made from, its chat template among them.

    Raises:
        ConfigError: no tokenizer there.
    """
    files = find_tokenizer(conf)
    digest = hashlib.sha256()
    for filename in TOKENIZER_FILES:
        if filename in files:
            digest.update(f"{filename} {file_sha256(files[filename])}\n".encode())
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
