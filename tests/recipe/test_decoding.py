"""A test set dealt out to decoding jobs, and their outputs joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.errors import DataError
from espnet_part.kaldi import read_table, write_table
from espnet_part.recipe.decoding import join_shards, write_shards


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rows = {f"u{n}": f"Wort\u2028{n}\u00a0x" for n in range(5)}
    write_table(tmp_path / "text", rows.items())
    return tmp_path / "text"


def decode(text: Path, logdir: Path, job: int) -> None:
    """What a job writes: its reference, but nothing for u3."""
    wanted = read_table(logdir / f"keys.{job}.scp")
    rows = [(utt, value) for utt, value in read_table(text).items() if utt in wanted]
    out = logdir / f"output.{job}/1best_recog"
    for name in ("text", "score"):
        write_table(out / name, [row for row in rows if row[0] != "u3"])


def test_shares_are_even_and_the_joined_output_is_whole(text: Path, tmp_path: Path) -> None:
    logdir = tmp_path / "dec/logdir"
    assert write_shards(text, logdir, 2) == 2
    assert [list(read_table(logdir / f"keys.{n}.scp")) for n in (1, 2)] == [
        ["u0", "u2", "u4"],
        ["u1", "u3"],
    ]
    for job in (1, 2):
        decode(text, logdir, job)
    assert join_shards(tmp_path / "dec") == ["u3"]
    joined = read_table(tmp_path / "dec/text")
    assert joined == {utt: v for utt, v in read_table(text).items() if utt != "u3"}
    assert not (tmp_path / "dec/token").exists()


def test_what_a_kill_left_is_kept_by_the_same_number_of_jobs(text: Path, tmp_path: Path) -> None:
    logdir = tmp_path / "dec/logdir"
    write_shards(text, logdir, 2)
    decode(text, logdir, 1)
    write_shards(text, logdir, 2)
    assert (logdir / "output.1").is_dir()
    write_shards(text, logdir, 3)
    assert not (logdir / "output.1").exists()


def test_what_cannot_be_is_named(text: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="empty: nothing to decode"):
        write_shards(tmp_path / "empty", tmp_path / "dec/logdir", 2)
    write_shards(text, tmp_path / "dec/logdir", 2)
    for job in (1, 2):
        decode(text, tmp_path / "dec/logdir", job)
    with (tmp_path / "dec/logdir/output.2/1best_recog/text").open("a") as file:
        file.write("u0 again\n")
    with pytest.raises(DataError, match=r"output\.2/1best_recog/text: u0 is in another job's"):
        join_shards(tmp_path / "dec")
