"""What dead servers left is removed, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from espnet_part.serve.spool import Spool

DIES = """
import os, sys
from pathlib import Path
from espnet_part.serve.spool import Spool
spool = Spool(Path(sys.argv[1]))
spool.new(".wav").write_bytes(b"left")
print(spool.directory, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path: Path) -> None:
    living = Spool(tmp_path)
    living.new("").write_bytes(b"in use")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "lock").touch()
    (tmp_path / "part_serve-link").symlink_to(outside)
    (tmp_path / "part_serve-file").touch()
    made = tmp_path / "part_serve-being-made"
    made.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path)], capture_output=True, text=True, check=False
    )
    dead = Path(done.stdout.strip())
    assert len(list(dead.iterdir())) == 2
    other = Spool(tmp_path)
    assert not dead.exists() and len(living.files()) == 1
    assert (outside / "lock").exists() and made.exists() and (tmp_path / "part_serve-file").exists()
    assert oct(other.directory.stat().st_mode)[-3:] == "700"
    living.close()
    other.close()
    assert not living.directory.exists() and not other.directory.exists()
