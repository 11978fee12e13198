"""Object stores and web servers; the servers run here."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path

import fsspec
import kaldiio
import numpy as np
import pytest

from espnet_part.data.audio import BadAudio, read_audio
from espnet_part.data.sources import audio_state, remote, storage, without_secrets
from espnet_part.errors import UserError
from tests.data.conftest import tone
from tests.data.sources.make import encode, write_tar

WAVE = tone(0.5)


class Server(ThreadingHTTPServer):
    """Serves ``files``; says what was asked, and fails as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failures: list[int] = []  # status codes of the next answers to GET; 0: it goes well
        self.ranges = True
        self.cut = 0  # so many of the next answers hold less than they should
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range", "everything"))
        self.answer(with_content=True)

    def answer(self, with_content: bool) -> None:
        content = self.server.files.get(self.path.partition("?")[0])
        status = 404 if content is None else 200
        if with_content and self.server.failures and (failure := self.server.failures.pop(0)):
            status, content = failure, None
        content = content or b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        whole = len(content)
        if status == 200 and asked and self.server.ranges:
            status, content = 206, content[int(asked[1]) : int(asked[2]) + 1]
        if with_content and self.server.cut:
            self.server.cut -= 1
            content = content[:-1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206 and asked:
            self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{whole}")
        self.end_headers()
        if with_content:
            self.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "_WAITS", (0.0, 0.0))
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()
    remote._size.cache_clear()


@pytest.fixture
def shard(tmp_path: Path) -> tuple[bytes, str]:
    """A tar, and where its member is."""
    members = [("a.txt", b"text" * 999), ("b.flac", encode(WAVE)), ("c.wav", encode(WAVE, "wav"))]
    entry = write_tar(tmp_path / "a.tar", members)["b.flac"]
    return (tmp_path / "a.tar").read_bytes(), entry.removeprefix(f"{tmp_path}/")


def test_a_member_of_a_tar_is_one_request_for_its_bytes(
    server: Server, shard: tuple[bytes, str]
) -> None:
    server.files["/a.tar"] = shard[0]
    for _ in range(2):
        np.testing.assert_allclose(read_audio(f"{server.url}/{shard[1]}"), WAVE, atol=2**-15)
    start, size = map(int, shard[1].split(":")[1:])
    assert server.asked == [f"bytes={start - 512}-{start + size - 1}"] * 2


@pytest.mark.parametrize("at_once", [1 << 20, 1 << 10])
def test_files_and_arks_elsewhere(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(storage, "_AT_ONCE", at_once)
    monkeypatch.setattr(storage, "_BUFFER", 1 << 10)
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as writer:
        writer("x", (16000, np.zeros(5, np.int16)))
        writer("y", (16000, (WAVE * 32767).astype(np.int16)))
    offset = (tmp_path / "a.scp").read_text().split()[-1].rpartition(":")[2]
    server.files = {
        "/a.ark": (tmp_path / "a.ark").read_bytes(),
        "/a b.flac": encode(WAVE),
        "/a.mp3": encode(WAVE, "mp3"),
    }
    server.files["/a%20b.flac"] = server.files["/a b.flac"]
    np.testing.assert_allclose(read_audio(f"{server.url}/a.ark:{offset}"), WAVE, atol=2**-14)
    np.testing.assert_allclose(read_audio(f"{server.url}/a%20b.flac?key=1"), WAVE, atol=2**-15)
    part = read_audio(f"{server.url}/a%20b.flac", (0.25, 0.5))
    np.testing.assert_allclose(part, WAVE[4000:], atol=2**-15)
    assert len(read_audio(f"{server.url}/a.mp3")) >= len(WAVE)


def test_a_request_is_tried_again_where_that_may_help(server: Server) -> None:
    server.files["/a.wav"] = encode(WAVE, "wav")
    server.failures = [503, 429]
    np.testing.assert_allclose(read_audio(f"{server.url}/a.wav"), WAVE, atol=2**-15)
    assert len(server.asked) == 3
    server.failures = [500, 502, 503, 504]
    with pytest.raises(BadAudio, match=rf"{server.url}/a.wav: no answer \(HTTP status 503\)"):
        read_audio(f"{server.url}/a.wav?X-Amz-Signature=secret")
    server.failures = [403]
    with pytest.raises(BadAudio, match=r"no access \(HTTP status 403\)"):
        read_audio(f"{server.url}/a.wav")
    assert len(server.asked) == 3 + 3 + 1


def test_a_failure_in_the_midst_of_a_long_file_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage, "_AT_ONCE", 1 << 10)
    monkeypatch.setattr(storage, "_BUFFER", 1 << 13)
    for form in ("flac", "wav"):
        server.files[f"/a.{form}"] = encode(tone(3.0), form)
        server.asked.clear()
        read_audio(f"{server.url}/a.{form}")
        needed = len(server.asked)
        assert needed > 4
        for good in (0, 1, needed // 2, needed - 1):
            server.failures = [0] * good + [403] * 99
            with pytest.raises(BadAudio, match="HTTP status 403"):
                read_audio(f"{server.url}/a.{form}")
        server.failures.clear()
    assert capfd.readouterr().err == ""


def test_what_servers_do_wrong_is_told(server: Server, shard: tuple[bytes, str]) -> None:
    with pytest.raises(BadAudio, match=r"none.wav: missing file \(HTTP status 404\)"):
        read_audio(f"{server.url}/none.wav")
    server.files["/a.tar"] = shard[0]
    server.ranges = False
    with pytest.raises(BadAudio, match="range"):
        read_audio(f"{server.url}/{shard[1]}")
    server.ranges, server.cut = True, 3
    with pytest.raises(BadAudio, match=r"no answer: \d+ of \d+ bytes came"):
        read_audio(f"{server.url}/{shard[1]}")
    server.cut = 2
    np.testing.assert_allclose(read_audio(f"{server.url}/{shard[1]}"), WAVE, atol=2**-15)
    with socket.socket() as nobody:  # bound, but it does not listen
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/a.wav"
        with pytest.raises(BadAudio, match=f"{url}: no answer: "):
            read_audio(url)


def test_processes_that_are_forked_read_too(server: Server, shard: tuple[bytes, str]) -> None:
    server.files["/a.tar"] = shard[0]
    url = f"{server.url}/{shard[1]}"
    read_audio(url)  # fsspec's thread is there, and gone in a fork
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        for found in pool.map(read_audio, [url] * 4, timeout=60):
            np.testing.assert_allclose(found, WAVE, atol=2**-15)


@pytest.mark.parametrize(
    "spec",
    [
        "file:///{path}",
        "local://{path}",
        "simplecache::file://{path}",
        "simplecache::s3://bucket/a.wav",
        "zip://a.wav::file://{path}",
        "http://host/a.zip::file://{path}",
        "s3://bucket/a.tar::x:512:4",
        "reference://x",
        "python://os.system",
        "ssh://host/a.wav",
        "dir::memory://a.wav",
        "S3://bucket/a.wav",
    ],
)
def test_only_some_protocols_are_read(tmp_path: Path, spec: str) -> None:
    (tmp_path / "a.wav").write_bytes(encode(WAVE, "wav"))
    for entry in (spec, f"{spec}:7", f"{spec}.tar:512:7"):
        with pytest.raises(
            BadAudio, match="only s3://, gs://, http://, https:// and paths are read"
        ):
            read_audio(entry.format(path=tmp_path / "a.wav"))


def test_secrets_are_neither_read_nor_shown() -> None:
    with pytest.raises(BadAudio, match="belong into the environment") as caught:
        read_audio("https://me:topsecret@host/a.wav?token=topsecret")
    assert "topsecret" not in str(caught.value)
    for url, shown in [
        ("https://a:b@h/c?d=e", "https://h/c"),
        ("s3://bucket/a?b", "s3://bucket/a"),
        ("a?b.wav", "a?b.wav"),
    ]:
        assert without_secrets(url) == shown


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("no such package")

    monkeypatch.setattr(fsspec, "filesystem", fail)
    with pytest.raises(UserError, match="pip install gcsfs"):
        read_audio("gs://bucket/a.wav")


def test_the_state_of_what_is_elsewhere_asks_nobody() -> None:
    assert audio_state("https://nowhere.invalid/a.tar:512:9") == audio_state("s3://no/such.wav")


def test_fsspec_s_memory(shard: tuple[bytes, str]) -> None:
    fsspec.filesystem("memory").pipe("/d/a.tar", shard[0])
    np.testing.assert_allclose(read_audio(f"memory://d/{shard[1]}"), WAVE, atol=2**-15)


def test_a_store_that_never_answers_is_asked_no_more_often_than_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """botocore and s3fs try again on their own."""
    pytest.importorskip("s3fs")
    monkeypatch.setattr(remote, "_WAITS", (0.0, 0.0))
    monkeypatch.setattr(remote, "_TIMEOUT", 0.2)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{stalled.getsockname()[1]}")
        with pytest.raises(BadAudio, match=r"s3://bucket/stalled.wav: no answer: Read timeout"):
            read_audio("s3://bucket/stalled.wav")
        stalled.settimeout(0.1)
        asked = 0
        with contextlib.suppress(TimeoutError):
            while True:
                stalled.accept()[0].close()
                asked += 1
    assert asked == 3


def test_s3(shard: tuple[bytes, str], monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    monkeypatch.setattr(remote, "_WAITS", ())
    for name, value in [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "topsecret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ]:
        monkeypatch.setenv(name, value)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        store = fsspec.filesystem("s3")
        store.mkdir("corpus")
        store.pipe("corpus/a.tar", shard[0])
        store.pipe("corpus/a.flac", encode(WAVE))
        for entry in (shard[1], "a.flac"):
            np.testing.assert_allclose(read_audio(f"s3://corpus/{entry}"), WAVE, atol=2**-15)
        for wrong in ("corpus/none.flac", "nowhere/a.tar:512:9"):
            with pytest.raises(
                BadAudio, match=rf"s3://{wrong.split(':')[0]}: missing file"
            ) as told:
                read_audio(f"s3://{wrong}")
            assert "topsecret" not in str(told.value)
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
        remote._size.cache_clear()
