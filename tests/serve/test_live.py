"""A microphone: what stays is what the whole recording gives, and guesses come before."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from espnet_part.decode.detect import Guess
from espnet_part.decode.transcripts import to_text
from tests.serve.conftest import TRAINED_ON, Running, until
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


def send(stream: ClientConnection, content: bytes, size: int = 320_000) -> None:
    for at in range(0, len(content), size):
        stream.send(content[at : at + size])


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
        send(stream, content, FRAME)
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
    for size in (20, 322, 20_000, len(content)):
        with open_stream(server, {"language": "de"}) as stream:
            send(stream, content, size)
            stream.send(json.dumps({"type": "stop"}))
            texts.add(hear(stream)[-1]["text"])
    assert len(texts) == 1


def test_a_language_that_is_left_out_is_detected_as_in_the_file(start, talk, model):
    path = talk(-0.5, 2.0, -1.0, 9.0, -0.3, 1.0, -2.0, 3.0, suffix=".wav")
    want = expected(model, path, lang="", tgt="")
    spoken = {
        "language": want.language.lang,
        "language_probability": pytest.approx(want.language.probability, abs=1e-4),
        "to_language": want.language.lang,
    }
    with open_stream(start(), {}) as stream:
        send(stream, pcm(path))
        stream.send(json.dumps({"type": "stop"}))
        ready, language, *messages = hear(stream)
    assert ready == {"type": "ready", "language": None, "to_language": None}
    assert language == {"type": "language", **spoken}
    assert [each["text"] for each in of(messages, "final")] == [line.text for line in want.lines]
    assert spoken.items() <= messages[-1].items()


def test_guesses_detect_the_language_until_it_is_known(start, talk):
    """The first words sound like English, all of what is heard by half a minute like German."""
    model = Fake()
    model.trained_on = TRAINED_ON
    model.spoken = lambda seconds: (
        [Guess("en", 0.9), Guess("de", 0.1)]
        if seconds < 1.5
        else [Guess("de", 0.99), Guess("en", 0.01)]
    )
    server = start(model, partial_seconds=0.05)
    first, rest, last = (
        pcm(talk(*parts, suffix=".wav"))
        for parts in ((-0.5, 1.0, -1.0), (2.5, -1.0, 3.0, -35.0), (-0.5, 3.5, -1.0))
    )
    with open_stream(server, {}) as stream:
        assert json.loads(stream.recv(60))["language"] is None
        stream.send(first)
        guess = json.loads(stream.recv(60))
        assert (guess["type"], guess["language"], guess["to_language"]) == ("partial", "en", "en")
        send(stream, rest)
        while (message := json.loads(stream.recv(60)))["type"] == "partial":
            pass
        assert (message["type"], message["language"]) == ("language", "de")
        stream.send(last)
        stream.send(json.dumps({"type": "stop"}))
        messages = hear(stream)
    assert {each["language"] for each in of(messages, "partial")} <= {"de"}
    assert messages[-1]["language"] == "de" and len(of(messages, "final")) == 4
    assert max(model.detected) < 3.4  # what is known is kept
    assert server.idle()


def test_guesses_are_made_bit_by_bit_where_the_queue_is_short(start, talk):
    """What there was room for is not decoded again the next time."""
    model = Fake()
    server = start(model, partial_seconds=0.05, queue_size=1)
    content = pcm(talk(-0.5, 1.0, -1.0, 1.5, -1.0, 2.0, -1.0, suffix=".wav"))
    with open_stream(server, {"language": "de"}) as stream:
        assert json.loads(stream.recv(60))["type"] == "ready"
        stream.send(content)
        while len(json.loads(stream.recv(60)).get("text", "").split()) < 3:
            pass
        stream.send(json.dumps({"type": "stop"}))
        assert len(of(hear(stream), "final")) == 3
    assert sum(map(len, model.batches)) == 3


def test_without_a_language_a_model_that_knows_none_asks_for_it(start):
    with open_stream(start(Fake()), {}) as stream:
        (error,) = of(hear(stream), "error")
    assert error["error"]["message"].startswith("language: give the language that is spoken")


def test_of_silence_no_language_is_known(start, talk):
    model = Fake()
    model.trained_on = TRAINED_ON
    with open_stream(start(model), {}) as stream:
        stream.send(pcm(talk(-2.0, suffix=".wav")))
        stream.send(json.dumps({"type": "stop"}))
        done = hear(stream)[-1]
    assert (done["type"], done["language"], done["text"]) == ("done", None, "")


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
        ([{"type": "start", "language": "x" * 900_000}], "the first message is"),
        ([{"type": "start", "language": "de", "prompt": "\ud800"}], "the first message is"),
        ([{"type": "start", "\ud800\x1b": "de"}], "the first message is"),
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
    for given in ({}, {"api_key": ""}):
        with open_stream(server, {"language": "de", **given}) as stream:
            assert "no API key" in hear(stream)[0]["error"]["message"]
    for wrong in ("right-key-2", "\ud800", "\0", "ключ", 7, ["right-key-1"], "x" * 900_000):
        with open_stream(server, {"language": "de", "api_key": wrong}) as stream:
            assert "a wrong API key" in hear(stream)[0]["error"]["message"]
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
        send(stream, content[: 2 * FRAME * 10], FRAME)
        if reason == "max_duration":
            stream.send(content[:FRAME])
        messages = hear(stream)
    assert messages[-1]["reason"] == reason and len(of(messages, "final")) == 1


def trickle(stream, frame):
    """Send a frame now and then until the server has had enough."""
    with pytest.raises(ConnectionClosed):
        for _ in range(1000):
            stream.send(frame)
            time.sleep(0.05)


def test_frames_without_samples_keep_no_stream_open(start):
    server = start(Fake(), idle_timeout=0.6)
    with open_stream(server, {"language": "de"}) as stream:
        assert json.loads(stream.recv(60))["type"] == "ready"
        trickle(stream, b"")
    assert server.idle()


def test_a_stream_that_trickles_ends(start):
    server = start(Fake(), max_duration=0.5, request_timeout=0.5)
    with open_stream(server, {"language": "de"}) as stream:
        assert json.loads(stream.recv(60))["type"] == "ready"
        trickle(stream, b"\1\0")
        assert hear(stream)[-1]["reason"] == "max_duration"
    assert server.idle()


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
