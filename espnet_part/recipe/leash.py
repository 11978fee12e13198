"""A command that ends when whoever started it does, however that ends.

    leash.py DESCRIPTOR COMMAND ...

runs the command as long as the pipe DESCRIPTOR is open at its other end. When that end is closed, by
a kernel that cleans up after a kill too, every process of this one's session hears SIGTERM, and
SIGKILL ten seconds later. Started as the leader of a session; exits with the command's status. Imports
nothing but the standard library, since it starts before each job.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE = 10.0


def members(session: int) -> list[int]:
    """The other processes of a session that are alive."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            content = Path(entry.path, "stat").read_bytes()
            state, _, _, its_session = content.rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        if int(its_session) == session and state != b"Z":
            found.append(int(entry.name))
    return found


def end_all(grace: float = GRACE) -> None:
    """End every other process of this session."""
    session = os.getsid(0)
    deadline = time.monotonic() + grace
    number = signal.SIGTERM
    told: set[int] = set()
    while alive := members(session):
        if time.monotonic() > deadline:
            number, told = signal.SIGKILL, set()
        for pid in alive:
            if pid not in told:  # one that it started meanwhile hears of it, too
                told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(0.05)


def main() -> int:
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    # handlers, unlike SIG_IGN, are not passed on to the command
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake)
    try:
        job = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while job.poll() is None:
        ready, _, _ = select.select([pipe, woken], [], [])
        if pipe in ready:
            end_all()
            return 143
        os.read(woken, 512)
    end_all()  # what it left behind
    return job.returncode if job.returncode >= 0 else 128 - job.returncode


if __name__ == "__main__":
    sys.exit(main())
