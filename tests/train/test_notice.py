"""The notice that a training is to end: which signals are one, and to whom."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet_part.errors import AGAIN
from espnet_part.train.notice import Notice, unheeded

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_is_noted_and_ends_nothing(number: signal.Signals) -> None:
    before, notice = signal.getsignal(number), Notice()
    with notice.awaited():
        assert not notice.came
        os.kill(os.getpid(), number)
        assert notice.came and notice.signal == number
    assert signal.getsignal(number) == before


def test_a_process_that_loads_data_ends_by_its_parent_alone() -> None:
    """Slurm sends SIGTERM to all processes of a job."""
    notice = Notice()
    fork = multiprocessing.get_context("fork")
    with notice.awaited():
        child = fork.Process(target=time.sleep, args=(60,))
        child.start()
        subprocess.run(["kill", "-TERM", str(child.pid)], check=True)
        child.join(0.5)
        assert child.is_alive()
        child.terminate()
        child.join(20)
        assert child.exitcode == 0
    other = fork.Process(target=time.sleep, args=(60,))  # as ever
    other.start()
    subprocess.run(["kill", "-TERM", str(other.pid)], check=True)
    other.join(20)
    assert other.exitcode == -signal.SIGTERM


def test_before_the_first_step_only_sigterm_ends_the_process() -> None:
    with unheeded():
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == AGAIN


def test_who_ends_before_the_first_step_says_so_in_one_line() -> None:
    program = (
        "import os, signal\n"
        "from espnet_part.train.notice import unheeded\n"
        "with unheeded():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == AGAIN
    assert done.stderr == (
        "part_train: stopped by SIGTERM beside its steps: started again, it goes on\n"
    )


ABORTING = """
import os, sys
class Aborting:
    def __del__(self, abort=os.abort):  # while Python takes itself down, as threads of libraries do
        abort()
sys.aborting = Aborting()
"""


@pytest.mark.parametrize("status", [0, AGAIN])
def test_a_status_is_kept_whatever_happens_while_python_takes_itself_down(status: int) -> None:
    end = "import atexit; atexit.register(print, 'at exit')\n"
    for leave, returned in ((f"sys.exit({status})", -signal.SIGABRT), (f"leave({status})", status)):
        code = f"{ABORTING}{end}from espnet_part.train.notice import leave\nprint('said'); {leave}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (returned, "said\nat exit\n"), done.stderr


def test_part_train_ends_like_this(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABORTING)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "espnet_part.bin.part_train", "--help"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "usage: part_train" in done.stdout, done.stderr
