"""A run without a terminal (``--detach true``): a job that submits the others, or a process here.

It is the recipe's own command, once more and with its output in ``exp/TAG/run.log``. So it does what the
command does in a terminal, and nothing need be known in advance of what its stages will need. Where the
cluster gives its job less time than all takes, it is put in the queue again and follows what it had started.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from espnet_part.errors import UserError
from espnet_part.files import atomic_write
from espnet_part.launch.command_line import exit_code
from espnet_part.launch.slurm_client import states
from espnet_part.launch.submission import Submission
from espnet_part.recipe.progress import Progress

_IS_DETACHED = "ESPNET_PART_DETACHED"
"""Set in the run itself, which must not take itself for another one."""


class Detached:
    """The run without a terminal of one experiment, if there is one.

    Args:
        directory: the experiment.
        launcher: of trainings; slurm.pl runs drivers, too. Another cluster's starts jobs only, and the run
            itself stays on this machine.
    """

    def __init__(self, directory: Path, launcher: Sequence[str]) -> None:
        self.log = directory / "run.log"
        self._record = directory / "run.log.pid"
        self._slurm = launcher[0] if Path(launcher[0]).name == "slurm.pl" else None

    def start(self, command: str, name: str) -> None:
        """Start it, unless it is at work, and say where.

        Args:
            command: as part.sh was called, in the words of a shell.
            name: of the job.

        Raises:
            UserError: the cluster refuses it.
        """
        words = ["env", f"{_IS_DETACHED}=yes", "bash", "-c", f"{command.strip()} --detach false"]
        if self._slurm is not None:
            launcher = [self._slurm, "--kind", "driver", "--name", name, "--detach", "true"]
            if subprocess.run([*launcher, str(self.log), *words], check=False).returncode:
                raise UserError("the run was not submitted")
        elif self.where() is None:
            self._start_here(words)
        print(
            f"{self.where() or 'it has ended already'}; log: {self.log}\n"
            "the same command without --detach shows what it writes, part_status how far it is, and "
            f"`{self._end()}` ends it",
            flush=True,
        )

    def _start_here(self, words: Sequence[str]) -> None:
        process = subprocess.Popen(
            ["run.pl", str(self.log), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with atomic_write(self._record) as file:
            json.dump({"pid": process.pid, "host": socket.gethostname()}, file)

    def is_another(self) -> bool:
        """Whether it is at work, and is not this process."""
        return _IS_DETACHED not in os.environ and self.where() is not None

    def where(self) -> str | None:
        """Where it is at work or waits for its turn, in words; None where it is not."""
        submission = Submission.read(self.log)
        if self._slurm is not None and submission is not None:
            for state in states(submission.job).values():
                if not state.has_ended:
                    at = f" on {state.nodes}" if state.nodes else ""
                    return f"job {submission.job} is {state.state.lower()}{at}"
            return None
        try:
            pid, host = self._process()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, TypeError, KeyError):
            return None
        here = host == socket.gethostname() and os.fsencode(self.log) in words
        return f"process {pid} is at work" if here else None

    def follow(self) -> int:
        """Show what it writes from now on until it ends; return its exit status."""
        try:
            print(f"{self.where()} without a terminal; its log {self.log} from now on:", flush=True)
            with Progress([self.log], echo=True):
                while self.where() is not None:
                    time.sleep(2)
        except BaseException:
            print(f"\nit goes on; `{self._end()}` ends it", file=sys.stderr)
            raise
        code = exit_code(self.log)
        return 1 if code is None else code

    def _end(self) -> str:
        submission = Submission.read(self.log)
        if self._slurm is not None and submission is not None:
            return f"scancel {submission.job}"
        return f"kill {self._process()[0]}"

    def _process(self) -> tuple[int, str]:
        known = json.loads(self._record.read_text(encoding="utf-8"))
        return int(known["pid"]), str(known["host"])
