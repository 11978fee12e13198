"""Work on a data directory by several jobs: what they make together is what one makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet_part import sorting
from espnet_part.bin import part_collect_stats, part_filter_data, part_format_data
from espnet_part.data import tables
from espnet_part.data.datadir import DataDir, Example
from espnet_part.data.formatting import Formatting
from espnet_part.data.splits import do_split
from tests.data.conftest import make_examples, write_model

Run = Callable[..., dict[str, bytes]]


def content(directory: Path) -> dict[str, bytes]:
    """All files by their names, but for the journals of what a later run need not do again."""
    files = {p for p in directory.rglob("*") if p.is_file() and p.parent.name != ".formatted"}
    own = str(directory).encode()  # new audio has a path in it
    return {
        str(path.relative_to(directory)): path.read_bytes().replace(own, b"OUT") for path in files
    }


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of some ranges: whole files, segments, text tasks, faults of several tables."""
    monkeypatch.setattr(tables, "RANGE", 3)
    monkeypatch.setattr(sorting, "CHUNK", 5)
    monkeypatch.setattr(Formatting, "least", 3)
    examples = make_examples(tmp_path / "audio")
    spoken = [e for e in examples if e.audio]
    cut = [
        dataclasses.replace(e, utt_id=f"{name}-{e.utt_id}", segment=(0.1, 0.2), num_samples=1600)
        for name, e in zip("acyz", reversed(spoken[:4]), strict=False)
    ]
    odd = [
        Example("b-long", "asr", "de", "de", "x " * 700, audio="a.wav", num_samples=160000),
        Example("q-short", "asr", "de", "de", "x", audio="a.wav", num_samples=7),
    ]
    path = tmp_path / "data"
    DataDir.write(path, [*examples, *cut, *odd])
    with (path / "text").open("a") as text:
        text.write("zzz nobody\n")
    (path / "utt2lang").write_text((path / "utt2lang").read_text().replace("b-long de", "b-long x"))
    return path


@pytest.fixture(params=["format", "filter", "stats"])
def run(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Run:
    """Runs a program of stage 2, 3 or 5 and returns the files that it made."""
    write_model(tmp_path)

    def work(out: str, *words: str) -> dict[str, bytes]:
        options = ["--out_dir", str(tmp_path / out), *words]
        if request.param == "format":
            some = ["--nj", "1", "--max_bad_share", "0.3"]
            part_format_data.main(["--in_dir", str(data), *some, *options])
        elif request.param == "filter":
            part_filter_data.main(["--in_dir", str(data), *options])
        else:
            model = ["--model_config", str(tmp_path / "model.yaml"), "--max_bad_share", "0.3"]
            part_collect_stats.main(["--data_dir", str(data), *model, *options])
        return content(tmp_path / out)

    return work


@pytest.mark.parametrize("nj", [2, 3, 50])
def test_the_result_does_not_depend_on_the_number_of_jobs(run: Run, nj: int) -> None:
    assert run("several", "--nj", str(nj)) == run("one")


def test_jobs_do_their_splits_and_what_is_lacking_is_done_alone(run: Run, tmp_path: Path) -> None:
    for job in ("1", "2", "3"):
        files = run("jobs", "--nj", "3", "--job", job)
    assert {name.split("/")[0] for name in files} - {"audio"} == {".split3"}
    splits = tmp_path / "jobs/.split3"
    times = {path.name: path.stat().st_mtime_ns for path in splits.iterdir()}
    (splits / "2").rename(splits / ".2.tmp")  # it was killed
    for job in ("1", "2", "3"):
        run("jobs", "--nj", "3", "--job", job)
    again = {path.name: path.stat().st_mtime_ns for path in splits.iterdir()}
    assert [name for name in sorted(times) if times[name] != again[name]] == ["2"]
    (splits / "3").rename(splits / ".3.tmp")
    joined = run("jobs", "--nj", "3")
    assert joined == run("one")


def test_splits_of_other_data_are_done_again(run: Run, data: Path) -> None:
    for job in ("1", "2", "3"):
        run("jobs", "--nj", "3", "--job", job)
    text = data / "text"
    text.write_text(text.read_text().replace("b-long x", "b-long y y"))
    assert run("jobs", "--nj", "3") == run("one")


def test_a_job_beyond_their_number(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("few", "--nj", "1000", "--job", "999") == {}
    with pytest.raises(SystemExit) as stop:
        run("few", "--nj", "3", "--job", "4")
    assert stop.value.code == 2 and "--job 4: there are 3" in capsys.readouterr().err


def test_a_directory_that_is_missing_fails_each_job(
    run: Run, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.rename(data.with_name("elsewhere"))
    with pytest.raises(SystemExit):
        run("jobs", "--nj", "3", "--job", "1")
    assert "missing directory" in capsys.readouterr().err


def test_directories_of_others_stay(run: Run, tmp_path: Path) -> None:
    """Kaldi's utils/split_data.sh leaves split8 in a data directory."""
    theirs = tmp_path / "kaldi/split8/1/wav.scp"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("a b\n")
    (tmp_path / "kaldi/.splits").touch()
    run("kaldi", "--nj", "3")
    assert theirs.read_text() == "a b\n"
    left = {path.name for path in (tmp_path / "kaldi").glob("*split*")}
    assert left == {"split8", ".splits"}


def test_a_split_may_be_done_twice_at_once(tmp_path: Path) -> None:
    """As by a job that was put back into the queue and still runs on a node that was given up."""

    class Work:
        data_dir, made_from, least = tmp_path, "this", 1
        begun = 0

        def __call__(self, directory: Path, job: int, nj: int) -> None:
            self.begun += 1
            (directory / "first").touch()
            if self.begun == 1:
                do_split(self, tmp_path / "out", nj, job)
            (directory / "second").touch()

    do_split(Work(), tmp_path / "out", 1, 1)
    assert content(tmp_path / "out").keys() == {
        f".split1/1/{name}" for name in ("first", "second", "made_from.json")
    }
