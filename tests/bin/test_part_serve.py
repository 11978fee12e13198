"""The command: what is wrong is told in a line, and SIGTERM ends it with status 0."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_part.bin.part_serve import get_parser, main
from tests.decode.conftest import exp  # noqa: F401


def fails(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, options)])
    assert stop.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "error" in line]) == 1
    return said[-1]


def test_wrong_options_are_told_before_anything_is_loaded(tmp_path, capsys):
    keys = tmp_path / "keys"
    keys.write_text("# none\n\n")
    short = tmp_path / "short"
    short.write_text("good-key-1\nabc\n")
    for options, said in [
        (["exp", "--host", "0.0.0.0"], "give --api_keys FILE, or --allow_anyone true"),
        (["exp", "--api_keys", tmp_path / "no"], "cannot be read"),
        (["exp", "--api_keys", keys], "no key in it"),
        (["exp", "--api_keys", short], "line 2: a key is 8 or more"),
        (["exp", "--max_upload_mb", "0"], "`max_upload_mb` must be more than 0"),
        (["exp", "--batch_size", "0"], "`batch_size` must be at least 1"),
        (["exp", "--pad", "3"], "`pad` must be"),
        (["exp", "--host", "256.1.1.1", "--allow_anyone", "true"], "no address of this machine"),
        ([tmp_path / "none", "--port", "0"], "neither a file nor a directory"),
        ([tmp_path, "--port", "0"], "no model"),
    ]:
        assert said in fails(capsys, *options)


def test_a_port_that_is_in_use_is_named(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = fails(capsys, tmp_path, "--port", port)
        assert f"--port {port}: Address already in use; stop what uses it" in said


def test_without_the_extra_the_user_is_told_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'espnet_part[serve]'" in fails(capsys, "exp")


def test_help_names_the_limits():
    text = get_parser().format_help()
    assert "--queue_size" in text and "(default: 127.0.0.1)" in text


@pytest.fixture
def command(exp, tmp_path):  # noqa: F811
    model = tmp_path / "exp"
    model.mkdir()
    for path in exp.iterdir():
        (model / path.name).symlink_to(path)
    (model / "valid.acc.ave.safetensors").symlink_to(exp / "model.safetensors")
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "OMP_NUM_THREADS": "1"}

    started = []

    def start(*options: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "espnet_part.bin.part_serve", str(model), "--port", "0"]
        words += ["--max_tokens_per_second", "8", "--ngpu", "0", *options]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> int:
    """Wait until the model is there; the port."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"ready: exp at http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise AssertionError("it has ended")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_nothing_is_left(command, tmp_path, number):
    process = command()
    port = ready(process)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/health")
    assert connection.getresponse().read() == b'{"status":"ok"}'
    assert len(list((tmp_path / "tmp").glob("part_serve-*"))) == 1
    process.send_signal(number)
    assert process.wait(60) == 0
    assert list((tmp_path / "tmp").glob("part_serve-*")) == []


def test_a_model_that_cannot_be_loaded_is_a_line(command, tmp_path):
    weights = tmp_path / "exp" / "valid.acc.ave.safetensors"
    weights.unlink()
    weights.write_bytes(b"damaged")
    process = command()
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1
    errors = [line for line in said.splitlines() if "error" in line]
    assert len(errors) == 1 and errors[0].startswith("part_serve: error: ")
    assert Path(weights).name in errors[0] and "Traceback" not in said
