"""Where uploads lie while they are decoded: a directory that is gone when the server is.

Each server has a directory of its own with a lock, which the kernel lets go of however the server
ends. The next server removes the directories that nobody locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path

_PREFIX = "part_serve-"
_LOCK = "lock"


class Spool:
    """A server's directory for uploads.

    Args:
        root: in which it is made; by default where the system has temporary files.
    """

    def __init__(self, root: Path | None = None):
        root = root or Path(tempfile.gettempdir())
        _clear(root)
        self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))  # for this user alone
        self._lock = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._number = itertools.count()

    def new(self, suffix: str) -> Path:
        """The path of a file that does not exist yet; the name owes nothing to the client's."""
        return self.directory / f"{next(self._number)}{suffix}"

    def files(self) -> list[Path]:
        """The uploads that are there."""
        return [path for path in self.directory.iterdir() if path.name != _LOCK]

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)


def _clear(root: Path) -> None:
    """Remove the directories of servers that are gone: our own, unlocked, and no links."""
    for path in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            # without a lock, a server is just making it
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
