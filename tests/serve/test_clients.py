"""The clients that people use, and many of them at once."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from espnet_part.decode.transcripts import to_text
from tests.serve.conftest import until
from tests.serve.test_app import PARTS, expected


def test_openai_s_client(start, talk, model):
    server, path = start(keys=["right-key-1"]), talk(*PARTS)
    text = to_text(expected(model, path), "de")
    base = f"http://127.0.0.1:{server.port}/v1"
    with OpenAI(base_url=base, api_key="right-key-1", max_retries=0) as client:
        assert [entry.id for entry in client.models.list()] == ["tiny"]
        audio = client.audio

        def ask(**options):
            with path.open("rb") as file:
                return audio.transcriptions.create(
                    file=file, model="tiny", language="de", **options
                )

        assert ask().text == text
        beside = {"temperature": 0.0, "prompt": "", "chunking_strategy": "auto", "stream": False}
        assert ask(**beside).text == text
        for wrong in ({"temperature": 0.2}, {"include": ["logprobs"]}):
            with pytest.raises(BadRequestError, match=f"^Error code: 400.*{next(iter(wrong))}"):
                ask(**wrong)
        assert ask(response_format="text") == f"{text}\n"
        assert ask(response_format="srt").startswith("1\n00:00:00,")
        verbose = ask(response_format="verbose_json", timestamp_granularities=["segment"])
        with pytest.raises(BadRequestError, match="hears by CTC"):
            ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
        assert verbose.text == text and verbose.duration == pytest.approx(7.7)
        assert all(segment.avg_logprob < 0 for segment in verbose.segments)
        events = list(ask(stream=True))
        assert events[-1].type == "transcript.text.done" and events[-1].text == text
        assert "".join(event.delta for event in events[:-1]) == text
        with path.open("rb") as file:
            english = audio.translations.create(
                file=file, model="tiny", extra_body={"language": "de", "to_language": "en"}
            )
        assert english.text == to_text(expected(model, path, "s2tt", "de", "en"), "en")
        with (
            pytest.raises(NotFoundError, match="no model 'whisper-1' here"),
            path.open("rb") as file,
        ):
            audio.transcriptions.create(file=file, model="whisper-1", language="de")
        with pytest.raises(BadRequestError, match="empty file") as caught:
            audio.transcriptions.create(file=("a.wav", b""), model="tiny", language="de")
        assert caught.value.code == "bad_audio" and caught.value.param == "file"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(start, talk, model):
    server, path = start(), talk(*PARTS)
    url = f"http://127.0.0.1:{server.port}/v1/audio/transcriptions"
    command = ["curl", "-sS", url, "-F", f"file=@{path}", "-F", "language=de"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"text": to_text(expected(model, path), "de")}


def test_the_answers_to_many_at_once_are_those_to_each_alone(start, talk):
    server, lengths = start(queue_size=40), random.Random(0)
    paths = [
        talk(*(lengths.uniform(0.5, 2.5) * sign for sign in (1, -1) * 2), seed=n) for n in range(32)
    ]
    wishes = [{"language": "de"}, {"language": "en", "response_format": "srt"}]
    alone = [server.post(path, **wishes[n % 2]).body for n, path in enumerate(paths)]
    assert len(set(alone)) > 20
    together: dict[int, bytes] = {}

    def ask(number):
        together[number] = server.post(paths[number], **wishes[number % 2]).body

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(32)] == alone
    sizes = server.ask("GET", "/metrics").text
    assert "part_windows_at_once_count" in sizes and server.idle()
    count, total = (
        float(sizes.split(f"part_windows_at_once_{name} ")[1].split()[0])
        for name in ("count", "sum")
    )
    assert total / count > 1.3  # they were decoded together
    until(lambda: not server.service.scheduler.waiting())
