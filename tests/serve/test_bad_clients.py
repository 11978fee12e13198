"""Bad files, bad senders and a bad model: each is told, none harms another or leaves a file."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.decode.sound import RATE
from tests.serve.conftest import multipart, until
from tests.serve.fake import Fake


def wav(samples, subtype="PCM_16", rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format="WAV")
    return file.getvalue()


def header(rate, channels=1, samples=1000):
    data = b"\1\0" * samples
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, 0, 2 * channels, 16)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form
    return head + b"data" + struct.pack("<I", len(data)) + data


def flac(seconds):
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC") as sound:
        for _ in range(seconds // 100):
            sound.write(np.zeros(800_000, np.float32))
    return file.getvalue()


GOOD = wav(np.random.default_rng(0).standard_normal(RATE) * 0.1)
NAN = np.full(RATE, np.nan, np.float32)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "400 file: empty file"),
        (b"no audio at all" * 99, "400 file: not readable as audio"),
        (GOOD[: len(GOOD) // 2], "400 file: truncated"),
        (wav(NAN, "FLOAT"), "400 file: samples that are not finite numbers"),
        (wav(3e4 * np.ones(RATE, np.float32), "FLOAT"), "400 file: samples up to 30000"),
        (wav(np.zeros(0, np.float32)), "400 file: no samples"),
        (header(4_000_000_000), "400 file: "),
        (header(2_000_000_000), "400 file: "),
        (header(1, samples=20_000), "413 file: longer than 100 s"),
        (flac(4000), "413 file: longer than 100 s"),
        (b"#EXTM3U\n#EXTINF:2,\nfile:/etc/hostname\n#EXT-X-ENDLIST\n", "400 file: not readable"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "400 file: not readable"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_bad_files(start, content, said):
    server = start(Fake(), max_duration=100.0)
    assert server.post(content, language="de", stream="true").error.startswith(said)
    assert server.post(content, language="de").error.startswith(said)
    assert server.post(GOOD, language="de").status == 200
    assert server.idle()


def test_a_length_that_no_header_tells_is_limited_as_well(start, tmp_path):
    """FLAC from a pipe says nothing of its length: a few kilobytes may be hours."""
    content = bytearray(flac(4000))
    assert len(content) < 200_000
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    server = start(Fake(), max_duration=100.0)
    assert server.post(bytes(content), language="de").error.startswith(
        "413 file: longer than 100 s"
    )
    assert server.idle()


@pytest.mark.parametrize(
    "name",
    ["../../../tmp/x.wav", "/etc/passwd", "a\0b.wav", "x" * 5000 + ".wav", ".wav", "ä;.ark:12"],
)
def test_names_of_files_lead_nowhere(start, name):
    server = start(Fake())
    before = sorted(server.service.spool.directory.parent.rglob("*"))
    assert server.post(GOOD, name=name, language="de").status in (200, 400)
    assert server.idle()
    assert sorted(server.service.spool.directory.parent.rglob("*")) == before


def test_files_over_the_limit_are_not_read_to_their_end(start):
    server = start(Fake(), max_upload_mb=0.1)
    assert server.post(GOOD * 3, language="de").status == 200
    large = GOOD * 60
    assert server.post(large, language="de").error == (
        "413 the file is larger than 0.1 MB, which is the limit"
    )
    body, kind = multipart(large, "a.wav", {"language": "de"})
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: {kind}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode())
        for start_ in range(0, len(body), 50_000):
            piece = body[start_ : start_ + 50_000]
            client.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")
    assert server.idle()


def half(server, count=None):
    """A connection that has sent half of its request's body, or so many bytes of it."""
    body, kind = multipart(GOOD, "a.wav", {"language": "de"})
    client = socket.create_connection(("127.0.0.1", server.port))
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body[: count or len(body) // 2])
    return client


def test_who_sends_nothing_more_is_told_and_gives_the_place_back(start):
    server = start(Fake(), idle_timeout=0.3, queue_size=1)
    with half(server) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")
    assert server.idle()
    assert server.post(GOOD, language="de").status == 200


def test_who_sends_too_slowly_is_told_and_gives_the_place_back(start):
    server = start(Fake(), idle_timeout=0.5, queue_size=1)
    with half(server, 200) as client:
        client.settimeout(0.1)
        answer = b""
        for _ in range(300):
            client.sendall(b"\0")
            with contextlib.suppress(TimeoutError):
                answer = client.recv(100)
                break
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.idle()
    assert server.post(GOOD, language="de").status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_without_a_request_is_closed(start, sent):
    """Bytes that come now and then do not keep it open, nor does a request before."""
    server = start(Fake(), idle_timeout=0.5)
    for before in (b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.settimeout(0.1)
            client.sendall(before)
            if before:
                until(lambda: client.recv(10_000).endswith(b'{"status":"ok"}'))
            client.sendall(sent)
            for _ in range(300):
                try:
                    assert client.recv(100) == b""
                    break
                except TimeoutError:
                    with contextlib.suppress(BrokenPipeError):
                        client.sendall(b"X: y\r\n" if sent else b"")
                except ConnectionResetError:
                    break
            else:
                pytest.fail("it is still open")


def test_a_full_disk_is_told_and_harms_no_other(start, tmp_path, monkeypatch):
    server = start(Fake())
    whole = Path.open

    def full(path, mode="r", *args, **kwargs):
        if mode == "xb" and path.suffix == ".mp3":
            path, mode = Path("/dev/full"), "wb"
        return whole(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    answer = server.post(GOOD, name="a.mp3", language="de")
    assert answer.error == "503 the server cannot keep the file: No space left on device"
    assert server.post(GOOD, language="de").status == 200
    assert server.idle()


def test_a_connection_that_breaks_leaves_nothing(start):
    server = start(Fake())
    with half(server):
        until(server.service.spool.files)
    assert server.idle()
    text = server.ask("GET", "/metrics").text
    assert 'status="499"} 1.0' in text


@pytest.mark.parametrize("stream", ["false", "true"])
def test_who_hangs_up_is_forgotten(start, talk, stream):
    """The windows that wait are not decoded any more."""
    model = Fake()
    server = start(model)
    model.gate.clear()
    fields = {"language": "de", "stream": stream}
    body, kind = multipart(talk(*[1.0, -1.0] * 40).read_bytes(), "a.flac", fields)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = (
            "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        until(model.begun.is_set)
    until(lambda: not server.service.scheduler.waiting())
    model.gate.set()
    assert server.idle()
    assert sum(map(len, model.batches)) <= server.service.settings.batch_size


def test_who_hangs_up_in_the_middle_of_an_answer_is_no_error(start, talk, caplog):
    model = Fake()
    model.fails = lambda seconds: bool(model.gate.clear())  # only the first batch passes
    server = start(model, batch_size=1)
    fields = {"language": "de", "stream": "true"}
    body, kind = multipart(talk(*[1.0, -1.0] * 10).read_bytes(), "a.flac", fields)
    connection = server.connect()
    connection.request("POST", "/v1/audio/transcriptions", body, {"Content-Type": kind})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.readline() == b"event: transcript.text.delta\n"
    answer.close()
    connection.close()
    until(lambda: not server.service.scheduler.waiting())
    model.fails = lambda seconds: False
    model.gate.set()
    assert server.idle()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_window_that_fails_harms_no_other_request(start, talk):
    model = Fake(fails=lambda seconds: 1.9 < seconds < 2.3)
    server = start(model)
    model.gate.clear()
    answers = {}

    def ask(name, *parts):
        answers[name] = server.post(talk(*parts), language="de", response_format="verbose_json")

    threads = [
        threading.Thread(target=ask, args=args)
        for args in (
            ("first", -0.5, 1.0, -0.5),
            ("good", -0.5, 3.0, -0.5),
            ("bad", -0.5, 2.0, -0.5),
        )
    ]
    for thread in threads:
        thread.start()
    until(lambda: server.service.scheduler.clients() == 3 and model.begun.is_set())
    model.gate.set()
    for thread in threads:
        thread.join()
    assert float(answers["good"].json["text"]) == pytest.approx(3.0, abs=0.2)
    assert float(answers["first"].json["text"]) == pytest.approx(1.0, abs=0.2)
    assert answers["bad"].error.startswith("500 cannot be decoded from 0:0")
    assert server.idle()


def test_a_model_that_fails_always_is_unhealthy(start, talk):
    model = Fake(fails=lambda seconds: True)
    server = start(model)
    for _ in range(20):
        assert server.post(GOOD, language="de").status == 500
    assert server.ask("GET", "/health").json == {"status": "failing"}
    model.fails = lambda seconds: False
    assert server.post(GOOD, language="de").status == 200
    assert server.ask("GET", "/health").json == {"status": "ok"}


def test_a_request_that_takes_too_long_is_ended(start, talk):
    model = Fake()
    server = start(model, request_timeout=0.5)
    model.gate.clear()
    assert server.post(GOOD, language="de").error.startswith("504 the request took too long")
    model.gate.set()
    assert server.idle()


def test_a_full_queue_says_when_to_come_again(start):
    model = Fake()
    server = start(model, queue_size=2)
    model.gate.clear()
    threads = [
        threading.Thread(target=server.post, args=(GOOD,), kwargs={"language": "de"})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(lambda: server.service.scheduler.clients() == 2)
    answer = server.post(GOOD, language="de")
    assert answer.error.startswith("429 2 requests are at work")
    assert int(answer.headers["retry-after"]) >= 1
    model.gate.set()
    for thread in threads:
        thread.join()
    assert server.post(GOOD, language="de").status == 200


def test_until_the_model_is_there_clients_are_told_to_wait(start):
    ready = threading.Event()

    def load():
        ready.wait(60)
        return Fake()

    server = start(load)
    assert server.ask("GET", "/health").json == {"status": "loading"}
    answer = server.post(GOOD, language="de")
    assert answer.error == "503 the model is still being loaded" and "retry-after" in answer.headers
    ready.set()
    until(lambda: server.ask("GET", "/health").status == 200)
    assert server.post(GOOD, language="de").status == 200


def test_what_is_at_work_ends_before_the_server_does(start):
    model = Fake()
    server = start(model)
    model.gate.clear()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.post(GOOD, language="de")))
    thread.start()
    until(model.begun.is_set)
    server.server.stop()
    assert server.post(GOOD, language="de").error == "503 the server is stopping"
    model.gate.set()
    thread.join()
    assert answers[0].status == 200
