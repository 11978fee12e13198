"""espnet_part/command.py: how commands show their help, and end before a job's time limit."""

from __future__ import annotations

import argparse
import os
import signal

import pytest

from espnet_part.command import HelpFormatter, ending_before_its_limit
from espnet_part.errors import AGAIN


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys: pytest.CaptureFixture[str], **text: str) -> str:
    parser = argparse.ArgumentParser(prog="p", formatter_class=HelpFormatter, **text)
    parser.add_argument("--rate", type=float, default=0.5, help="a rate")
    parser.add_argument("--share", default="50%", help="a share")
    parser.add_argument("--resume", default=False, help="go on")
    parser.add_argument("--langs", nargs="*", default=["de", "en"], help="languages")
    parser.add_argument("--out", help="a directory; by default standard output")
    parser.add_argument("--more", default="", help="more words")
    parser.add_argument("--said", default=3, help="a number (default: three)")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    return capsys.readouterr().out


def test_defaults_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys)
    for line in (
        "a rate (default: 0.5)",
        "a share (default: 50%)",
        "go on (default: false)",
        "languages (default: de en)",
        "a number (default: three)",
    ):
        assert line in said
    assert said.count("(default") == 5


def test_prose_is_wrapped_and_examples_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    example = "example:\n  p --rate 1 \\\n      --out x"
    said = shown(capsys, description="word " * 60, epilog=example)
    assert example in said
    assert max(map(len, said.splitlines())) <= 80


def test_a_command_that_can_go_on_says_so_when_its_time_is_nearly_up() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(SystemExit) as ended, ending_before_its_limit():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert ended.value.code == AGAIN and signal.getsignal(signal.SIGUSR1) == before
