"""espnet_part/lock.py: one at a time, named, and gone with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_part.errors import UserError
from espnet_part.lock import locked

HOLD = """
import sys
from espnet_part.lock import locked
with locked(sys.argv[1], "the work"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_holder_is_told_the_first_ones_pid_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=rf"the work here.*kill {holder.pid}\b"):  # noqa: SIM117
            with locked(path, "the work here"):
                pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(path, "the work"):
        assert path.read_text().split()[0] == str(os.getpid())


def test_child_that_was_handed_the_descriptor_goes_on_holding(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, "the work") as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
        )
    with pytest.raises(UserError), locked(path, "the work"):
        pass
    child.communicate(b"")
    with locked(path, "the work"):
        pass
