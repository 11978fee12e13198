"""Downloads: whole, resumed, wrong, missing; never another content under the name."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from espnet_part.download import RemoteFile, fetch, find_on_pypi
from espnet_part.errors import DataError

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves files by path.

    Attributes:
        files: content by path. cut: bytes after which an answer ends. ranges: whether parts are served.
        asked: the Range of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.ranges = True
        self.status = 200
        self.asked: list[str | None] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        content = self.server.files.get(self.path)
        if content is None or self.server.status != 200:
            self.send_error(404 if content is None else self.server.status)
            return
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the user's does not know this machine's ports."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        found.files["/file"] = CONTENT
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def remote(*urls: str, content: bytes = CONTENT) -> RemoteFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return RemoteFile(name="file", sha256=sha256, size=len(content), find=lambda: urls)


get = partial(fetch, wait=lambda seconds: None)


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = get(remote(server.url("/file")), tmp_path / "downloads")
    assert path.read_bytes() == CONTENT
    assert get(remote(server.url("/file")), tmp_path / "downloads") == path
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_what_is_there_already_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert get(remote(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:300_000])  # of a killed call
    server.ranges = ranges
    assert get(remote(server.url("/file")), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-"]


def test_an_answer_that_is_cut_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.cut = 400_000
    assert get(remote(server.url("/file")), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_what_stays_cut_is_kept_for_the_next_call(server: Server, tmp_path: Path) -> None:
    server.cut = 1000
    with pytest.raises(DataError, match=r"cut at 4000 of 1024000 bytes.*put it into"):
        get(remote(server.url("/file")), tmp_path)
    assert (tmp_path / "file.part").stat().st_size == 4000
    server.cut = None
    assert get(remote(server.url("/file")), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=4000-"


def test_another_content_is_refused_and_the_next_address_tried(
    server: Server, tmp_path: Path
) -> None:
    server.files["/other"] = CONTENT[::-1]
    with pytest.raises(DataError, match="gives another file"):
        get(remote(server.url("/other")), tmp_path)
    assert list(tmp_path.iterdir()) == []
    addresses = (server.url("/no"), server.url("/other"), server.url("/file"))
    assert get(remote(*addresses), tmp_path).read_bytes() == CONTENT


def test_more_than_was_promised_is_not_read(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = CONTENT + b"more"
    assert get(remote(server.url("/file")), tmp_path).read_bytes() == CONTENT


def test_a_users_file_of_another_content_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"is not the file that is expected .* move it away"):
        get(remote(server.url("/file")), tmp_path)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize(("status", "asked"), [(403, 1), (404, 1), (503, 4), (429, 4)])
def test_a_server_that_refuses(server: Server, tmp_path: Path, status: int, asked: int) -> None:
    server.status = status
    with pytest.raises(DataError, match=f"HTTP {status}"):
        get(remote(server.url("/file")), tmp_path)
    assert len(server.asked) == asked


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"http://127\.0\.0\.1:1/file: .*refused.*Fetch it elsewhere"
    ):
        get(remote("http://127.0.0.1:1/file"), tmp_path)


def test_a_file_is_found_on_the_index_that_pip_uses(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = '<a href="../../files/other.whl">x</a><a href="../../files/a-1.whl#sha256=0">a-1.whl</a>'
    server.files["/simple/a/"] = page.encode()
    monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple/"))
    assert find_on_pypi("a", "a-1.whl") == [server.url("/files/a-1.whl")]
    with pytest.raises(DataError, match=r"has no file a-2\.whl"):
        find_on_pypi("a", "a-2.whl")
    missing = RemoteFile(name="b", sha256="", size=1, find=partial(find_on_pypi, "b", "b-1.whl"))
    with pytest.raises(DataError, match=r"b cannot be fetched: .*HTTP 404.*put it into"):
        fetch(missing, tmp_path)
