"""What `part_export --format vllm` writes, and what the plugin makes of it, without vLLM."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from espnet_part import vllm
from espnet_part.bin.part_export import main as part_export
from espnet_part.decode.direction import Direction
from espnet_part.decode.search import Search
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.model.adapters import ADAPTERS
from espnet_part.pack.vllm import LONGEST_ANSWER
from espnet_part.tasks import TASKS
from espnet_part.vllm.config import LONGEST, SPEECH_TOKEN, PartConfig
from espnet_part.vllm.prompts import prompt_tokens
from espnet_part.vllm.speech import Speech
from tests.decode.conftest import make_speech
from tests.model.test_transformers_encoder import CONFIGS
from tests.vllm import models

SECONDS = (1.7, 0.02, 4.9, 0.6)


def export(trained: Path, out: Path, *options: str) -> Path:
    part_export(["--model", str(trained), "--format", "vllm", "--out", str(out), *options])
    return out


def read(directory: Path) -> tuple[PartConfig, Speech, dict[str, torch.Tensor]]:
    """What vLLM reads: the configuration, encoder and adapter, and the LLM's weights."""
    config = PartConfig.from_pretrained(directory)
    index = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"]
    weights: dict[str, torch.Tensor] = {}
    for name in set(index.values()):
        weights |= load_file(directory / name)
    assert weights.keys() == index.keys()
    speech = Speech(config).eval()
    own = {n.removeprefix("speech."): t for n, t in weights.items() if n.startswith("speech.")}
    speech.load(own)
    return config, speech, {n: t for n, t in weights.items() if n.startswith("language_model.")}


def check_speech(directory: Path, own: Speech2Text) -> None:
    """Each clip's embeddings are those of the trained model, and as many as were counted beforehand."""
    config, speech, _ = read(directory)
    counting = Speech.sizes(config)
    clips = [torch.from_numpy(make_speech(seconds, 7)) for seconds in SECONDS]
    with torch.no_grad():
        together = speech(clips)
        for clip, found in zip(clips, together, strict=True):
            states = own.model.encoder(clip[None], torch.tensor([len(clip)]))
            (wanted,), (length,) = own.model.adapter(*states)
            assert counting.count(len(clip)) == len(found) == int(length)
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.train(tmp_path_factory.mktemp("vllm") / "exp", models.WHISPER, "transformer_cnn")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained, tmp_path_factory.mktemp("vllm") / "out")


@pytest.mark.parametrize("adapter", ADAPTERS.own())
def test_every_adapter_is_exported_or_says_that_it_cannot_be(
    adapter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = models.train(tmp_path / "exp", models.WHISPER, adapter)
    if ADAPTERS.conf(adapter).EXACT_LENGTHS:
        own = Speech2Text.from_pretrained(trained)
        check_speech(export(trained, tmp_path / "out"), own)
        return
    assert adapter in ("ctc_compression", "ctc_spelling")  # as many embeddings as are heard
    with pytest.raises(SystemExit):
        export(trained, tmp_path / "out")
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"speech_adapter: the kind {adapter} cannot be exported for vLLM" in said
    assert [path.name for path in tmp_path.iterdir()] == ["exp"]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_encoder_of_transformers_is_exported(name: str, tmp_path: Path) -> None:
    encoder = {"encoder": "transformers", "encoder_conf": {"config": CONFIGS[name]}}
    trained = models.train(tmp_path / "exp", encoder, "linear", loud=False)
    check_speech(export(trained, tmp_path / "out"), Speech2Text.from_pretrained(trained))


def test_an_encoder_that_needs_its_toolkit_says_so(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from espnet_part.model.encoders.whisper import packing

    monkeypatch.delattr(packing, "without_files")
    with pytest.raises(SystemExit):
        export(trained, tmp_path / "out")
    said = capsys.readouterr().err.splitlines()[-1]
    assert "encoder: the kind whisper cannot be exported for vLLM" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["espnet", "sensevoice"])
def test_encoders_of_other_toolkits_declare_nothing(kind: str) -> None:
    from espnet_part.model.encoders import ENCODERS

    assert not hasattr(ENCODERS.packing(kind), "without_files")


def test_an_encoder_s_files_are_not_needed(trained: Path, tmp_path: Path) -> None:
    part_export(["--model", str(trained), "--out", str(tmp_path / "parts")])
    name = str(tmp_path / "parts/encoder")
    encoder = {"encoder": "whisper", "encoder_conf": {"name": name, "silence": 0.5}}
    again = models.train(tmp_path / "exp", encoder, "linear")
    own = Speech2Text.from_pretrained(again)
    out = export(again, tmp_path / "out")
    (tmp_path / "parts").rename(tmp_path / "away")
    check_speech(out, own)
    assert name not in (out / "config.json").read_text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_llm_is_that_of_the_other_format_with_lora_merged(
    trained: Path, tmp_path: Path, dtype: str
) -> None:
    out = export(trained, tmp_path / "out", "--dtype", dtype)
    part_export(["--model", str(trained), "--out", str(tmp_path / "parts"), "--dtype", dtype])
    wanted = load_file(tmp_path / "parts/llm/model.safetensors")
    _, _, found = read(out)
    assert found.keys() == {f"language_model.{name}" for name in wanted}
    assert all(torch.equal(found[f"language_model.{name}"], wanted[name]) for name in wanted)
    config = PartConfig.from_pretrained(out)
    assert str(config.dtype) == str(config.text_config.dtype) == f"torch.{dtype}"


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize(
    "direction", [("asr", "de", "de"), ("asr", "ast", "ast"), ("s2tt", "de", "fr")]
)
def test_prompts_are_those_of_decoding(
    tmp_path: Path, direction: tuple[str, str, str], chat: bool
) -> None:
    trained = models.train(tmp_path / "exp", models.WHISPER, "linear", chat=chat)
    out = export(trained, tmp_path / "out")
    config, tokenizer = PartConfig.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    own = Speech2Text.from_pretrained(trained)
    task, lang, tgt = direction
    for context in ("", "Names: Nguyen", f"<|end|> {SPEECH_TOKEN}\n"):
        example = Direction(task, lang, tgt).example()
        row = own.prepare(example, make_speech(0.1, 0), context=context.replace(SPEECH_TOKEN, "?"))
        found = prompt_tokens(config, tokenizer, TASKS[task], lang, tgt, context)
        place = found.index(config.speech_token_id)
        assert found.count(config.speech_token_id) == 1  # what a user writes is never the clip
        if SPEECH_TOKEN not in context:
            assert found[:place] == row.tokens.prefix_ids
            assert found[place + 1 :] == row.tokens.suffix_ids
    assert config.speech_token_id == len(own.tokenizer)


def test_answers_end_as_in_decoding(exported: Path, trained: Path) -> None:
    values = json.loads((exported / "generation_config.json").read_text())
    own = Speech2Text.from_pretrained(trained)
    assert values["eos_token_id"] == own.model.end_token_ids and len(own.model.end_token_ids) > 1
    assert values["max_new_tokens"] == LONGEST_ANSWER == Search().limit_speech(LONGEST)
    assert values["temperature"] == 0


def test_a_token_of_ours_that_the_llm_has_already_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = models.train(tmp_path / "exp", models.WHISPER, "linear", more_tokens=[SPEECH_TOKEN])
    with pytest.raises(SystemExit):
        export(trained, tmp_path / "out")
    assert f"{SPEECH_TOKEN} is a token of the LLM's own" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["exp"]


def test_lora_cannot_stay_beside(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        export(trained, tmp_path / "out", "--merge_lora", "false")
    assert "--merge_lora false: for vLLM, LoRA is merged" in capsys.readouterr().err


def test_the_release_of_vllm_is_that_of_its_environment() -> None:
    source = (Path(__file__).parents[2] / "tools/vllm_environment.py").read_text()
    (version,) = re.findall(r'^VERSION = "(.+)"$', source, re.MULTILINE)
    assert version.split(".")[:2] == vllm.VLLM.split(".")


def test_another_release_of_vllm_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Other:
        __version__ = "0.99.1"

    monkeypatch.setitem(sys.modules, "vllm", cast(Any, Other))
    vllm.register()
    assert "serves its models with vLLM 0.32; in vLLM 0.99.1 they are not known" in caplog.text
