"""The command line that Kaldi's launchers (run.pl, slurm.pl …) share, and what their logs say.

    PROGRAM [--gpu N] [--num_threads N] [--mem SIZE] [--max-jobs-run N] … [JOB=1:N] LOG COMMAND ...

JOB in LOG and COMMAND stands for a job's number. Imports nothing but the standard library, since a
launcher starts before each job.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OPERATORS = {"|", "||", "&&", ";", ">", ">>", "<", "2>", "2>>", "2>&1"}
"""Words that are the shell's where they stand by themselves; all others reach the program as they are."""
MOST_FAILURES = 254
"""The exit status of a launcher is the number of failed jobs, at most this; 255 is its own failure."""
_ENDED = re.compile(r"# Ended \(code (\d{1,3})\)")
_JOBS = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")


class UsageError(Exception):
    """A command line that cannot be followed; a line that says why."""


@dataclass(frozen=True)
class Launch:
    """What is to be run.

    Attributes:
        options: by name, with underscores.
        name: what stands for a job's number (JOB); None where one job has none.
    """

    options: dict[str, str]
    name: str | None
    jobs: range
    log: str
    command: list[str]

    def number(self, name: str, default: int) -> int:
        """An option that is a number.

        Raises:
            UsageError: it is none.
        """
        try:
            return int(self.options.get(name, default))
        except ValueError:
            raise UsageError(f"--{name} must be a number: {self.options[name]}") from None

    def fill(self, text: str, job: int) -> str:
        """A text of one job."""
        return text if self.name is None else text.replace(self.name, str(job))

    def failure(self, failed: Sequence[int]) -> str:
        """What to say of jobs that failed."""
        first = self.fill(self.log, failed[0])
        if len(self.jobs) == 1:
            return f"job failed, log is in {first}"
        where = self.log if self.name is None else self.log.replace(self.name, "*")
        return (
            f"{len(failed)} / {len(self.jobs)} failed, log is in {where}"
            f" (failed: {', '.join(map(str, failed[:20]))}; first {first})"
        )


def parse(words: Sequence[str], program: str) -> Launch:
    """Read a launcher's command line.

    Raises:
        UsageError: it cannot be followed.
    """
    words = list(words)
    options: dict[str, str] = {}
    name, jobs = None, range(1, 2)
    while words and (words[0].startswith("-") or re.fullmatch(r"[A-Za-z_]\w*=\d[\d:]*", words[0])):
        word = words.pop(0)
        if word.startswith("-"):
            if not words:
                raise UsageError(f"the option {word} needs a value")
            options[word.lstrip("-").replace("-", "_")] = words.pop(0)
            continue
        match = _JOBS.fullmatch(word)
        if not match:
            raise UsageError(f"bad job range {word}: must be JOB=1:N")
        name, first = match[1], int(match[2])
        jobs = range(first, int(match[3] or first) + 1)
        if not jobs:
            raise UsageError(f"bad job range {word}: the end lies before the start")
    if len(words) < 2:
        raise UsageError(f"usage: {program} [options] [JOB=1:N] LOG COMMAND ...")
    if name is not None and name not in words[0] and len(jobs) > 1:
        raise UsageError(
            f"the log file must hold {name}, or {len(jobs)} jobs would share it: {words[0]}"
        )
    return Launch(options, name, jobs, words[0], words[1:])


def shell_line(command: Sequence[str]) -> str:
    """A command for a shell."""
    return " ".join(word if word in OPERATORS else shlex.quote(word) for word in command)


def exit_code(log: Path) -> int | None:
    """The exit status at the end of a job's log; None where it has none, or the job has begun anew."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    code = None
    for line in lines[-20:]:  # processes that are left behind may write after it
        if match := _ENDED.match(line):
            code = int(match[1])
        elif line.startswith("# Running on "):
            code = None
    return code
