"""A microphone: what stays is what the whole recording gives, and guesses come before."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from espnet_part.decode.transcripts import to_text
from tests.serve.conftest import Running, until
from tests.serve.fake import Fake
from tests.serve.test_app import expected

FRAME = 3200  # bytes: a tenth of a second


def pcm(path: Any) -> bytes:
    return (soundfile.read(path, dtype="int16")[0]).tobytes()


def open_stream(server: Running, start: Any = None, **options: Any) -> ClientConnection:
    stream = connect(f"ws://127.0.0.1:{server.port}/v1/audio/stream", **options)
    if start is not None:
        stream.send(json.dumps({"type": "start", **start}))
    return stream


def hear(stream: ClientConnection) -> list[dict[str, Any]]:
    """All messages up to the end."""
    messages = []
    try:
        while True:
            messages.append(json.loads(stream.recv(timeout=120)))
    except ConnectionClosed:
        return messages


def of(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == kind]


@pytest.mark.parametrize("task", ["asr", "s2tt"])
def test_what_stays_is_what_the_file_gives(start, talk, model, task):
    """Recordings joined, with and without pauses, over more than the minute that is looked at."""
    path = talk(
        -0.5, 2.0, -1.0, 9.0, -0.3, 1.0, -2.0, 3.0, -70.0, 2.0, -1.0, 6.0, -0.2, suffix=".wav"
    )
    tgt = {"asr": "de", "s2tt": "en"}[task]
    want = expected(model, path, task, "de", tgt)
    server, content = start(), pcm(path)
    with open_stream(server, {"language": "de", "to_language": tgt}) as stream:
        for at in range(0, len(content), FRAME):
            stream.send(content[at : at + FRAME])
        stream.send(json.dumps({"type": "stop"}))
        messages = hear(stream)
    assert messages[0] == {"type": "ready", "language": "de", "to_language": tgt}
    finals = of(messages, "final")
    assert [(each["start"], each["end"], each["text"]) for each in finals] == [
        (round(line.start, 4), round(line.end, 4), line.text) for line in want.lines
    ]
    done = messages[-1]
    assert (done["type"], done["reason"]) == ("done", "stop")
    assert done["text"] == to_text(want, tgt) and done["srt"].startswith("1\n")
    assert done["duration"] == pytest.approx(want.seconds)
    assert server.idle()


def test_guesses_come_while_one_speaks_and_are_not_decoded_twice(start, talk):
    model = Fake()
    server = start(model, partial_seconds=0.05)
    content = pcm(talk(-0.5, 2.0, -1.0, 1.5, -1.0, suffix=".wav"))
    with open_stream(server, {"language": "de"}) as stream:
        assert json.loads(stream.recv(60))["type"] == "ready"
        stream.send(content)
        texts = []
        while len(texts) < 1 or len(texts[-1].split()) < 2:
            guess = json.loads(stream.recv(60))
            assert guess["type"] == "partial"
            texts.append(guess["text"])
        stream.send(json.dumps({"type": "stop"}))
        messages = hear(stream)
    finals = of(messages, "final")
    assert " ".join(each["text"] for each in finals) == texts[-1] == messages[-1]["text"]
    assert sum(map(len, model.batches)) == 2  # each window once


def test_frames_in_any_pieces_give_the_same(start, talk):
    server, content = start(Fake()), pcm(talk(-0.3, 1.0, -1.0, 2.0, suffix=".wav"))
    texts = set()
    for size in (322, 20_000, len(content)):
        with open_stream(server, {"language": "de"}) as stream:
            for at in range(0, len(content), size):
                stream.send(content[at : at + size])
            stream.send(json.dumps({"type": "stop"}))
            texts.add(hear(stream)[-1]["text"])
    assert len(texts) == 1


def test_the_language_of_a_stream_is_not_detected(start):
    with open_stream(start()) as stream:
        stream.send(json.dumps({"type": "start"}))
        (error,) = of(hear(stream), "error")
        assert (
            "language: give the language that is spoken; of a stream" in error["error"]["message"]
        )


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (["hello"], "a message is a JSON object"),
        ([b"\0" * 320], "a message is a JSON object"),
        (["[" * 50_000], "a message is a JSON object"),
        ([{"type": "go"}], "the first message is"),
        ([{"type": "start", "langauge": "de"}], "the first message is"),
        ([{"type": "start", "language": 7}], "the first message is"),
        ([{"type": "start", "language": "xx"}], "not the code of a language"),
        ([{"type": "start", "language": "de", "model": "other"}], "no model 'other' here"),
        ([{"type": "start", "language": "de"}, b"\0" * 3], "whole samples of 16 bits"),
        ([{"type": "start", "language": "de"}, {"type": "pause"}], "after the start, only"),
    ],
)
def test_wrong_messages_end_the_stream_with_an_error(start, messages, said):
    server = start(Fake())
    with open_stream(server) as stream:
        for message in messages:
            stream.send(json.dumps(message) if isinstance(message, dict) else message)
        heard = hear(stream)
        assert said in of(heard, "error")[0]["error"]["message"]
        assert stream.close_code == 1008
    assert server.idle()


def test_keys_and_places_count_for_streams(start):
    server = start(Fake(), keys=["right-key-1"], queue_size=1)
    bearer = {"additional_headers": {"Authorization": "Bearer right-key-1"}}
    with open_stream(server, {"language": "de"}) as stream:
        assert "no API key" in hear(stream)[0]["error"]["message"]
    with open_stream(server, {"language": "de"}, **bearer) as first:
        assert json.loads(first.recv(60))["type"] == "ready"
        with open_stream(server, {"language": "de", "api_key": "right-key-1"}) as second:
            assert "1 requests are at work" in hear(second)[0]["error"]["message"]
            assert second.close_code == 1013
    assert server.idle()
    with open_stream(server, {"language": "de", "api_key": "right-key-1"}) as third:
        assert json.loads(third.recv(60))["type"] == "ready"
    with open_stream(server, origin="https://evil.example") as foreign:
        assert "other hosts" in hear(foreign)[0]["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"max_duration": 2.0}, "max_duration"), ({"idle_timeout": 0.6}, "silent")],
)
def test_a_limit_ends_the_stream_and_what_was_said_is_told(start, talk, settings, reason):
    server, content = start(Fake(), **settings), pcm(talk(-0.3, 1.0, -5.0, suffix=".wav"))
    with open_stream(server, {"language": "de"}) as stream:
        for at in range(0, 2 * FRAME * 10, FRAME):
            stream.send(content[at : at + FRAME])
        if reason == "max_duration":
            stream.send(content[:FRAME])
        messages = hear(stream)
    assert messages[-1]["reason"] == reason and len(of(messages, "final")) == 1


def test_a_server_that_stops_tells_what_was_said(start, talk):
    model = Fake()
    server, content = start(model), pcm(talk(-0.3, 1.0, -0.6, suffix=".wav"))
    with open_stream(server, {"language": "de"}) as stream:
        assert json.loads(stream.recv(60))["type"] == "ready"
        stream.send(content)
        until(lambda: model.begun.is_set())
        server.server.stop()
        messages = hear(stream)
    assert messages[-1]["reason"] == "stopping" and len(of(messages, "final")) == 1


def test_who_hangs_up_leaves_nothing_behind(start, talk):
    model = Fake()
    server = start(model)
    model.gate.clear()
    stream = open_stream(server, {"language": "de"})
    for at in range(40):
        stream.send(np.full(16_000, at, np.int16).tobytes())
    stream.socket.close()
    until(lambda: server.service.scheduler.clients() == 0 or model.begun.is_set())
    model.gate.set()
    assert server.idle()
