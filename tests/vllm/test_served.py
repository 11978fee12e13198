"""vLLM's own answers, offline and over HTTP, against `Speech2Text`'s; needs tools/setup_vllm.sh."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from espnet_part.decode.engines import vllm as engine
from espnet_part.decode.speech2text import Speech2Text
from espnet_part.errors import ConfigError
from espnet_part.sample_rate import SAMPLE_RATE
from espnet_part.vllm.config import SPEECH_TOKEN
from tests.decode.conftest import make_speech
from tests.vllm import models
from tests.vllm.test_export import export

SECONDS = (0.5, 1.9, 1.1, 0.03, 4.6, 2.2, 3.3, 0.8)
RATE = 8  # tokens a second
MODELS: dict[str, dict[str, Any]] = {
    "whisper": {
        "encoder": models.WHISPER,
        "adapter": "transformer_cnn",
        # a table without a row for the token that stands for speech; vLLM adds rows up to 64s
        "more_tokens": [f"<|{number}|>" for number in range(63)],
        "vocab_size": 320,
    },
    "wav2vec2": {
        "encoder": models.WAV2VEC2,
        "adapter": "qformer",
        "chat": False,
        "model_type": "llama",
        "tie_word_embeddings": True,
    },
}


@pytest.fixture(scope="module")
def python() -> str:
    """The Python of vLLM's environment, in which this package is, too."""
    try:
        python = engine.find_python()
    except ConfigError as error:
        pytest.skip(str(error))
    program = "import vllm, espnet_part"
    if subprocess.run([python, "-I", "-c", program], capture_output=True).returncode:
        pytest.skip(f"{python}: espnet_part is not installed beside vLLM: call tools/setup_vllm.sh")
    return python


def environment() -> dict[str, str]:
    quiet = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    return {**os.environ, **quiet, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def requests() -> list[dict[str, Any]]:
    """Transcriptions and translations of clips of many lengths, one with a context."""
    asked = []
    for number, seconds in enumerate(SECONDS):
        translate = number % 3 == 2
        asked.append(
            {
                "number": number,
                "task_type": "translate" if translate else "transcribe",
                "language": "de",
                "to_language": "fr" if translate and number > 3 else None,
                "prompt": "Names: Nguyen, Kraków" if number == 1 else "",
                "limit": math.ceil(RATE * seconds) + 10,
            }
        )
    return asked


def wanted(speech2text: Speech2Text, asked: dict[str, Any]) -> list[int]:
    speech = make_speech(SECONDS[asked["number"]], asked["number"])
    more: dict[str, Any] = {"lang": "de", "context": asked["prompt"]}
    if asked["task_type"] == "translate":
        more |= {"task": "s2tt", "tgt": asked["to_language"] or "en"}
    return speech2text(speech, **more)[0].token_int


@pytest.mark.parametrize("name", MODELS)
def test_vllm_s_tokens_are_those_of_decoding(name: str, python: str, tmp_path: Path) -> None:
    trained = models.train(tmp_path / "exp", **MODELS[name])
    out = export(trained, tmp_path / "out")
    clips = {
        json.dumps(asked): make_speech(SECONDS[asked["number"]], asked["number"])
        for asked in requests()
    }
    np.savez(tmp_path / "requests.npz", **clips)  # type: ignore[arg-type]
    program = Path(__file__).with_name("offline.py")
    done = subprocess.run(
        [python, str(program), str(out), *(str(tmp_path / f) for f in ("requests.npz", "answers"))],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "answers").read_text())
    own = Speech2Text.from_pretrained(trained, max_tokens_per_second=RATE)
    ends = own.model.end_token_ids
    tokens = [wanted(own, asked) for asked in requests()]
    assert len({tuple(ids[:4]) for ids in tokens}) > 4  # what is heard makes a difference
    assert any(answer["tokens"][-1] in ends for answer in found)
    assert any(answer["tokens"][-1] not in ends for answer in found)
    assert [[t for t in answer["tokens"] if t not in ends] for answer in found] == tokens


@pytest.fixture(scope="module")
def server(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the model that it has."""
    room = tmp_path_factory.mktemp("served")
    trained = models.train(room / "exp", **MODELS["whisper"])
    out = export(trained, room / "out")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(out)]
    command += ["--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-num-seqs", "4", "--kv-cache-memory-bytes", str(1 << 26)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = room / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment(), stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=10)
                break
            time.sleep(0.5)
        assert process.poll() is None, log.read_text()[-3000:]
        yield address, trained
    finally:
        process.terminate()
        process.wait()


def same(found: str | None, wanted: str) -> bool:
    """Whether texts are the same, but for a letter at the end of which there are not all bytes: vLLM
    leaves that out."""
    return bool(wanted) and (found or "").strip().rstrip("\ufffd") == wanted.rstrip("\ufffd")


def test_openai_s_client_gets_transcriptions_translations_and_chats(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    import base64

    from openai import BadRequestError, OpenAI

    address, trained = server
    own = Speech2Text.from_pretrained(trained, max_new_tokens=9)
    speech = make_speech(2.2, 5)
    soundfile.write(tmp_path / "clip.wav", speech, SAMPLE_RATE, subtype="FLOAT")
    audio = (tmp_path / "clip.wav").read_bytes()
    short: dict[str, Any] = {"extra_body": {"max_completion_tokens": 9}}
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        heard = client.audio.transcriptions.create(
            model="tiny", file=("clip.wav", audio), language="de", prompt="Names: Nguyen", **short
        )
        assert same(heard.text, own(speech, lang="de", context="Names: Nguyen")[0].text)
        more = {"language": "de", "to_language": "fr", "max_completion_tokens": 9}
        translated = client.audio.translations.create(
            model="tiny", file=("clip.wav", audio), extra_body=more
        )
        assert same(translated.text, own(speech, "s2tt", lang="de", tgt="fr")[0].text)
        part = {"data": base64.b64encode(audio).decode(), "format": "wav"}
        content: Any = [
            {"type": "input_audio", "input_audio": part},
            {"type": "text", "text": "Transcribe the German speech."},
        ]
        said = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": content}], max_tokens=9
        )
        assert same(said.choices[0].message.content, own(speech, lang="de")[0].text)
        with pytest.raises(BadRequestError, match="`language` is missing"):
            client.audio.transcriptions.create(model="tiny", file=("clip.wav", audio))
        with pytest.raises(BadRequestError, match=re.escape("unknown language code 'German!'")):
            client.audio.transcriptions.create(
                model="tiny", file=("clip.wav", audio), language="German!"
            )


def test_the_speech_token_in_a_text_harms_nobody(server: tuple[str, Path]) -> None:
    from openai import OpenAI

    with OpenAI(base_url=f"{server[0]}/v1", api_key="none", max_retries=0) as client:
        for text in (SPEECH_TOKEN, f"{SPEECH_TOKEN} and {SPEECH_TOKEN}"):
            said = client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": text}], max_tokens=3
            )
            assert said.choices[0].message.content is not None
    urllib.request.urlopen(f"{server[0]}/health", timeout=10)
