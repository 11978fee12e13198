"""PART for ESPnet: multilingual speech LLMs trained by a declared schedule of stages.

Importing this package registers the task ``part`` with espnetez, which itself is imported only when
it is used, and lets threads wait asleep (see `_wait_asleep`).
"""

from __future__ import annotations

import os

from espnet_part import _espnetez

__version__ = "0.3.0"


def _wait_asleep() -> None:
    """OpenMP's threads sleep while they wait for one another, unless the user said how they wait.

    By default they spin, which on shared cores costs several times the work itself (measured in
    tools/bench). The library reads its variables once, when torch is first imported: hence here,
    where every command and every script that imports a part of this package passes first.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["KMP_BLOCKTIME"] = "0"  # LLVM's and Intel's library spin 200 ms otherwise


_wait_asleep()
_espnetez.register()
