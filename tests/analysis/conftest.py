"""A tiny speech LLM and forty recordings in two languages that say the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import soundfile

from espnet_part.data.datadir import DataDir, Example
from espnet_part.decode.speech2text import Speech2Text
from tests.decode.conftest import RATE, exp, make_speech

__all__ = ["exp"]


@pytest.fixture(scope="session")
def model(exp: Path) -> Speech2Text:
    """With LoRA apart from the LLM, as `part_analyze` loads it."""
    return Speech2Text(exp / "config.yaml", exp / "model.safetensors", merge_lora=False)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Twelve sentences, each heard in German and in English, the German ones also translated; and text."""
    path = tmp_path_factory.mktemp("audio")
    found = []
    for number in range(12):
        for place, lang in enumerate(("de", "en")):
            speech = make_speech(0.4 + 0.05 * number, 100 * place + number)
            audio = path / f"{lang}{number}.wav"
            soundfile.write(audio, speech, RATE, subtype="FLOAT")
            utt, said = (
                f"{lang}{number}",
                f"number {number}" if lang == "en" else f"Nummer {number}",
            )
            heard = Example(
                f"{utt}-asr", "asr", lang, lang, said, audio=str(audio), num_samples=len(speech)
            )
            found.append(heard)
            if lang == "de":
                written = f"Number {number}."
                found.append(
                    dataclasses.replace(
                        heard,
                        utt_id=f"{utt}-s2tt",
                        task="s2tt",
                        tgt="en",
                        text=written,
                        src_text=said,
                    )
                )
        found.append(Example(f"t{number}", "t2tt", "de", "en", f"n {number}", f"N {number}"))
    return found


@pytest.fixture(scope="session")
def data_dir(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dev"
    DataDir.write(path, examples)
    return path
