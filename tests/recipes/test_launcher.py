"""The local launcher, which takes the command line of Kaldi's run.pl."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "egs2/TEMPLATE/part/utils/run.pl"


def launch(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RUN), *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=600,
    )


def test_log_has_header_output_and_end(tmp_path):
    done = launch(
        "--mem", "4G", "deep er/a.log", "bash", "-c", "echo out; echo err >&2", cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "deep er/a.log").read_text().splitlines()
    assert lines[0] == "# bash -c 'echo out; echo err >&2'"
    assert lines[1].startswith("# Started at ")
    assert lines[2:5] == ["#", "out", "err"]
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[5])
    assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", lines[6])


def test_array_replaces_the_job_number_and_counts_failures(tmp_path):
    script = 'echo "shard $1"; test "$1" != 2 && test "$1" != 4'
    done = launch("JOB=1:5", "x.JOB.log", "bash", "-c", script, "-", "JOB", cwd=tmp_path)
    assert done.returncode == 2
    assert "2 / 5 failed, log is in x.*.log" in done.stderr
    assert "first x.2.log" in done.stderr
    for job in range(1, 6):
        text = (tmp_path / f"x.{job}.log").read_text()
        assert f"\nshard {job}\n" in text
        assert f"# Ended (code {int(job in (2, 4))})" in text


def test_words_reach_the_program_as_they_are(tmp_path):
    words = ["a  b", "$HOME", "*", "", "it's", '"', "<pad>", "a;b", "ü"]
    launch("o.log", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words, cwd=tmp_path)
    assert f"\n{words!r}\n" in (tmp_path / "o.log").read_text()


def test_operators_by_themselves_are_the_shells(tmp_path):
    launch("o.log", "echo", "one two", "|", "tr", "o", "0", ">", "out.txt", cwd=tmp_path)
    assert (tmp_path / "out.txt").read_text() == "0ne tw0\n"


def test_max_jobs_run(tmp_path):
    script = "touch running.$1; ls running.* | wc -l >> counts; sleep 0.3; rm running.$1"
    options = ("--max-jobs-run", 2, "JOB=1:5", "l.JOB.log")
    launch(*options, "bash", "-c", script, "-", "JOB", cwd=tmp_path)
    counts = [int(n) for n in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 5
    assert max(counts) == 2


def test_each_job_has_its_own_gpus(tmp_path):
    script = "echo gpus=$CUDA_VISIBLE_DEVICES; sleep 0.3"
    command = ("--gpu", 2, "JOB=1:4", "l.JOB.log", "bash", "-c", script)
    launch(*command, cwd=tmp_path, CUDA_VISIBLE_DEVICES="4,5,6,7")
    used = re.findall(r"\ngpus=(\S*)", "".join(p.read_text() for p in tmp_path.glob("l.*.log")))
    assert sorted(used) == ["4,5", "4,5", "6,7", "6,7"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["JOB=1:3", "same.log", "true"], "would share it"),
        (["JOB=3:1", "l.JOB.log", "true"], "the end lies before the start"),
        (["--mem"], "needs a value"),
        (["--num_threads", "many", "l.log", "true"], "must be a number"),
        (["only.log"], "usage"),
    ],
)
def test_wrong_use_is_refused(tmp_path, words, message):
    done = launch(*words, cwd=tmp_path)
    assert done.returncode == 255
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_command_is_a_failed_job(tmp_path):
    done = launch("l.log", "no-such-command", cwd=tmp_path)
    assert done.returncode == 1
    assert "job failed, log is in l.log" in done.stderr
    assert "# Ended (code 127)" in (tmp_path / "l.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_job_ends_with_its_launcher(tmp_path, number):
    launcher = subprocess.Popen(
        [str(RUN), "l.log", "bash", "-c", "echo $$ > pid; exec sleep 60"], cwd=tmp_path
    )
    pid_file = tmp_path / "pid"
    _wait_for(lambda: pid_file.exists() and pid_file.read_text().strip())
    launcher.send_signal(number)
    launcher.wait(600)
    assert launcher.returncode != 0
    job = Path(f"/proc/{pid_file.read_text().strip()}")
    # an ended job may stay as a zombie where nobody collects it
    _wait_for(lambda: not job.exists() or ") Z " in (job / "stat").read_text())


def _wait_for(condition, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
