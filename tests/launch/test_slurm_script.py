"""The script that Slurm gets, run by bash, and what of the environment goes along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_part.launch.command_line import OPERATORS, Launch
from espnet_part.launch.slurm_script import forwarded, log_pattern, script
from espnet_part.launch.slurm_settings import JobSettings

SHOW = "import sys; print(ascii(sys.argv[1:]))"
WORDS = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\n\r"), max_size=12
)


def run(launch: Launch, **conf: object) -> subprocess.CompletedProcess[str]:
    text = script(launch, JobSettings(**conf), Path("/tmp"))  # type: ignore[arg-type]
    task = {} if launch.name is None else {"SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "7"}
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "9", **task}
    return subprocess.run(
        ["bash"], input=text, env=environment, capture_output=True, text=True, timeout=60
    )


@given(words=st.lists(WORDS.filter(lambda word: word not in OPERATORS), max_size=5))
@settings(max_examples=30)
def test_words_reach_the_program_as_they_are(words: list[str]) -> None:
    words = [*words, "JOB", "a JOB's"]
    done = run(Launch({}, "JOB", range(7, 8), "x.JOB.log", [sys.executable, "-c", SHOW, *words]))
    wanted = [word.replace("JOB", "7") for word in words]
    assert f"{wanted!a}\n" in done.stdout, done.stderr


def test_the_exit_status_is_the_commands_and_stands_at_the_end() -> None:
    done = run(Launch({}, None, range(1, 2), "x.log", ["bash", "-c", "exit 7"]), setup=["A=1"])
    assert done.returncode == 7
    lines = done.stdout.splitlines()
    assert lines[0].endswith("job 9") and lines[-1].startswith("# Ended (code 7) at ")
    array = run(Launch({}, "JOB", range(7, 8), "x.JOB.log", ["true"]))
    assert array.returncode == 0 and array.stdout.splitlines()[0].endswith("job 8_7")


RUNNING = "JobState=RUNNING Restarts=0 BatchFlag=1"
PUT_BACK = "JobState=COMPLETING Restarts=1 BatchFlag=1"
CANCELLED = "JobState=COMPLETING Restarts=0 BatchFlag=1"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize(
    ("status", "known", "goes_on"),
    [
        pytest.param(75, RUNNING, True, id="goes on"),
        pytest.param(75, PUT_BACK, True, id="is in the queue already"),
        pytest.param(75, CANCELLED, False, id="was cancelled"),
        pytest.param(75, "", False, id="Slurm does not answer"),
        pytest.param(143, RUNNING, True, id="was ended by srun, where another goes on"),
        pytest.param(143, CANCELLED, False, id="was ended for good"),
        pytest.param(0, RUNNING, False, id="is done"),
        pytest.param(3, RUNNING, False, id="fails"),
    ],
)
def test_a_notice_reaches_the_program_and_what_goes_on_is_queued_again(
    tmp_path: Path, number: int, status: int, known: str, goes_on: bool
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys, time\n"
        "def told(*_):\n"
        "    os.write(1, b'told\\n')\n"
        "    time.sleep(1)\n"
        f"    sys.exit({status})\n"
        f"signal.signal({int(number)}, told)\n"
        "print('begun', flush=True)\n"
        "time.sleep(50)\n"
    )
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\n[ "$1" = show ] && echo " {known} " || echo "scontrol $*"\n')
    scontrol.chmod(0o755)
    launch = Launch({}, None, range(1, 2), "x.log", [sys.executable, str(program)])
    text = script(launch, JobSettings(), Path("/tmp"))
    running = subprocess.Popen(
        ["bash", "-c", text],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "9"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    printed = ""
    while "begun" not in printed:
        line = running.stdout.readline()
        assert line, printed  # it has ended
        printed += line
    running.send_signal(number)
    printed += running.communicate(timeout=60)[0]
    assert running.returncode == (75 if goes_on else status), printed
    assert printed.count("told") == 1 and "[1]" not in printed
    assert ("scontrol requeue 9\n" in printed) == (goes_on and known == RUNNING)
    assert ("# Stopped at " in printed) == goes_on
    assert (f"# Ended (code {status})" in printed) != goes_on


def test_what_goes_along() -> None:
    names = ["PATH", "HF_TOKEN", "https_proxy", "HTTPS_PROXY", "LC_ALL", "DISPLAY"]
    environment = dict.fromkeys([*names, "SLURM_JOB_ID", "BASH_FUNC_x%%", "MINE"], "x")
    known = ["HF_TOKEN", "HTTPS_PROXY", "LC_ALL", "PATH", "https_proxy"]
    assert forwarded(environment, []) == known
    assert forwarded(environment, ["MI*"]) == sorted([*known, "MINE"])


def test_the_log_of_a_task() -> None:
    launch = Launch({}, "JOB", range(1, 3), "a%/x.JOB.log", ["true"])
    assert log_pattern(launch, Path("/b%")) == "/b%%/a%%/x.%a.log"
