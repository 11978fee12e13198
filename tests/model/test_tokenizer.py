"""The tokenizer: complete, or refused in one line; the same as the LLM's; from the cache alone."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from espnet_part.errors import ConfigError
from espnet_part.model import base
from espnet_part.model.config import LLMConf
from espnet_part.model.llm import LLM
from espnet_part.model.tokenizer import check_vocabulary, load_tokenizer, tokenizer_sha256
from tests.data.conftest import make_tokenizer
from tests.model.tiny import QWEN2

COMMIT = "0" * 40


def save(tokenizer: PreTrainedTokenizerFast, path: Path) -> LLMConf:
    tokenizer.save_pretrained(path)
    return LLMConf(config=QWEN2, tokenizer=str(path))


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_whole_tokenizer_loads(tmp_path: Path) -> None:
    whole = make_tokenizer()
    tokenizer = load_tokenizer(save(whole, tmp_path))
    assert tokenizer("the dog")["input_ids"] == whole("the dog")["input_ids"]


@pytest.mark.parametrize("model_type", [None, "qwen2", "llama", "gpt2", "gemma"])
def test_without_its_vocabulary_it_is_refused(tmp_path: Path, model_type: str | None) -> None:
    conf = save(make_tokenizer(), tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    if model_type:  # transformers then makes an empty tokenizer of that kind
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ConfigError, match=f"{tmp_path}: its tokenizer (has no vocab|cannot be lo)"):
        load_tokenizer(conf)


def empty_vocabulary(values: dict[str, Any]) -> None:
    values["model"]["vocab"], values["model"]["merges"] = {}, []


def lost_letters(values: dict[str, Any]) -> None:
    vocabulary = values["model"]["vocab"]
    values["model"]["merges"] = []
    values["model"]["vocab"] = {k: v for k, v in vocabulary.items() if k != "H" and len(k) == 1}


def lost_control_tokens(values: dict[str, Any]) -> None:
    for token in values["added_tokens"]:
        values["model"]["vocab"].setdefault(token["content"], token["id"])
    values["added_tokens"] = [t for t in values["added_tokens"] if t["content"] != "<|im_start|>"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty_vocabulary, "incomplete: 'Hello 1' comes back as ''"),
        (lost_letters, "incomplete: 'Hello 1' comes back as 'ello 1'"),
        (lost_control_tokens, r"writes <\|im_start\|>.* among the special tokens"),
        (dict.clear, "cannot be loaded"),
        (lambda values: values.update(model=[]), "cannot be loaded"),
        (lambda values: values.update(added_tokens=7), "cannot be loaded"),
    ],
)
def test_a_damaged_vocabulary_is_refused(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    conf = save(make_tokenizer(), tmp_path)
    rewrite(tmp_path / "tokenizer.json", change)
    with pytest.raises(ConfigError, match=message) as error:
        load_tokenizer(conf)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"tokenizer_class": 7}', '{"added_tokens_decoder": {"5": "x"}}']
)
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str) -> None:
    conf = save(make_tokenizer(), tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ConfigError, match=f"{tmp_path}: its tokenizer cannot be loaded"):
        load_tokenizer(conf)


def test_without_an_end_token_it_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(template=None)
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match=f"{tmp_path}: the tokenizer has no end token"):
        load_tokenizer(save(tokenizer, tmp_path))


def test_an_end_token_that_the_vocabulary_lacks_is_refused(tmp_path: Path) -> None:
    conf = save(make_tokenizer(), tmp_path)
    rewrite(tmp_path / "tokenizer_config.json", lambda values: values.update(eos_token="<nothing>"))
    with pytest.raises(ConfigError, match="its end token '<nothing>' is not in the vocabulary"):
        load_tokenizer(conf)


def test_the_vocabulary_is_the_embedding_tables() -> None:
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    for rows in (size, size + 5, size + 1024):  # up to a round number
        check_vocabulary(tokenizer, rows)
    for rows in (size // 2, size - 50, size + 1025, 100_000):
        with pytest.raises(ConfigError, match=f"{size} tokens.* {rows} rows: they do not belong"):
            check_vocabulary(tokenizer, rows)


def test_a_control_token_beyond_the_table_must_not_be_written() -> None:
    from tokenizers import AddedToken

    tokenizer = make_tokenizer()
    rows = len(tokenizer)
    tokenizer.add_tokens([AddedToken("<image>", special=True)])  # as Gemma 3's text models have it
    check_vocabulary(tokenizer, rows)
    tokenizer.add_special_tokens({"eos_token": "<|nothing|>"})
    assert tokenizer.eos_token_id == rows + 1
    with pytest.raises(ConfigError, match=rf"<\|nothing\|> is not in the vocabulary.* {rows} rows"):
        check_vocabulary(tokenizer, rows)


def test_the_model_looks_at_it(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save(make_tokenizer(), tmp_path))
    config = {**QWEN2, "vocab_size": len(tokenizer) // 2}
    with pytest.raises(ConfigError, match="do not belong together"):
        LLM.from_conf(LLMConf(config=config, tokenizer=str(tmp_path)), tokenizer=tokenizer)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub's cache that holds one complete model; no network. Gives its snapshot."""
    import huggingface_hub
    from huggingface_hub import file_download

    def find(*args: Any, **more: Any) -> Any:
        return file_download.try_to_load_from_cache(*args, cache_dir=tmp_path, **more)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("asks the hub")
    )
    model = tmp_path / "models--some--model"
    snapshot = model / "snapshots" / COMMIT
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(snapshot)
    config = AutoConfig.for_model(**{**QWEN2, "vocab_size": len(tokenizer)})
    AutoModelForCausalLM.from_config(config).save_pretrained(snapshot)
    yield snapshot


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_complete_model_in_the_cache_needs_no_network(
    cached: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    def connect(*_: Any, **__: Any) -> None:
        pytest.fail("asks the network")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    conf = LLMConf(name="some/model", revision=revision)
    tokenizer = load_tokenizer(conf)
    llm = LLM.from_conf(conf, tokenizer=tokenizer)
    assert llm.base is not None and llm.base.name == "some/model"
    assert tokenizer_sha256(conf) == tokenizer_sha256(LLMConf(name=str(cached)))


def test_without_a_network_what_is_missing_is_named_within_seconds(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (cached / "model.safetensors").unlink()
    (cached / "tokenizer.json").unlink()
    monkeypatch.setattr(base, "_HUB_SECONDS", 0.2)
    base._ask_hub.cache_clear()
    with socket.socket() as silent:  # it is connected to, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        conf = LLMConf(name="some/model")
        with pytest.raises(ConfigError, match=r"is not in the cache and the hub cannot be reached"):
            load_tokenizer(conf)
        with pytest.raises(
            ConfigError, match=r"model\.safetensors is not in the cache and the hub"
        ):
            LLM.from_conf(conf)
    base._ask_hub.cache_clear()
