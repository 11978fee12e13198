"""What importing the package does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def openmp_says(before: str, **variables: str) -> str:
    """What torch's OpenMP takes from its environment, started after ``before``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    environment = {**kept, "OMP_DISPLAY_ENV": "verbose", **variables}
    code = f"{before}\nimport torch\ntorch.set_num_threads(2)\ntorch.ones(9).sum()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stderr


@pytest.mark.parametrize(
    "entry", ["import espnet_part.command", "from espnet_part.decode import Speech2Text"]
)
def test_threads_wait_asleep(entry: str) -> None:
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in openmp_says(entry)


@pytest.mark.parametrize(
    "name, value",
    [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000"), ("KMP_BLOCKTIME", "200")],
)
def test_threads_wait_as_the_user_said(name: str, value: str) -> None:
    code = "import os, espnet_part; print(os.environ.get('OMP_WAIT_POLICY'))"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, name: value},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert said == (value if name == "OMP_WAIT_POLICY" else "None")
