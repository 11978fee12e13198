"""Plain lines of progress in a log file."""

from __future__ import annotations

import pytest

from espnet_part import progress
from espnet_part.progress import Lines, open_bar


@pytest.fixture
def passing(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_at_intervals_and_one_at_the_end(passing, capsys):
    with open_bar("LLM", 200, "steps") as bar:
        for _ in range(200):
            passing[0] += 0.2
            bar.update()
            bar.set_postfix(loss="1.5")
    lines = capsys.readouterr().err.split("\n")
    assert lines[0] == "LLM: 75/200 steps, 38 %, 0:15 so far, ETA 0:25, loss 1.5"
    assert lines[1].startswith("LLM: 150/200 steps, 75 %")
    assert lines[2:] == ["LLM: 200 steps in 0:40, loss 1.5", ""]


def test_without_a_total_there_is_no_share(passing, capsys):
    with Lines("train.tsv", unit="lines") as bar:
        passing[0] += 20
        bar.update(7)
    assert capsys.readouterr().err.split("\n") == [
        "train.tsv: 7 lines, 0:20 so far",
        "train.tsv: 7 lines in 0:20",
        "",
    ]


def test_what_did_not_come_to_its_end_says_so(passing, capsys):
    with pytest.raises(ValueError), Lines("a.tar", 3_000_000, "B", scale=True) as bar:
        bar.update(1_500)
        raise ValueError
    assert capsys.readouterr().err == "a.tar: 1.5k/3.0M B in 0:00\n"
    with Lines("small", 3, disable=True) as bar:
        passing[0] += 60
        bar.update()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with open_bar("files", 4, "files") as bar:
        bar.update(4)
    assert "\rfiles: 100%|" in capsys.readouterr().err
