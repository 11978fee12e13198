"""Which job writes a log: a note beside it, for whoever looks at the log when its launcher is gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from espnet_part.files import atomic_write

SUFFIX = ".slurm"


@dataclass(frozen=True)
class Submission:
    """A job of Slurm.

    Attributes:
        log: of an array, with the word all in place of a job's number.
        command: what tells it from others.
    """

    log: Path
    job: str
    command: str

    @classmethod
    def read(cls, log: Path) -> Submission | None:
        """That of the job that has written the log last; None where there is none."""
        try:
            values = json.loads(_note(log).read_text(encoding="utf-8"))
            return cls(log, str(values["job"]), str(values["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(_note(self.log)) as file:
            json.dump({"job": self.job, "command": self.command}, file)
            file.write("\n")


def _note(log: Path) -> Path:
    return log.with_name(log.name + SUFFIX)
