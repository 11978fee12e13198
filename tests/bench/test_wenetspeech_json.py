"""The benchmark of WenetSpeech's metadata runs, and counts what it has made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_benchmark(tmp_path):
    command = [sys.executable, str(ROOT / "tools/bench/wenetspeech_json.py"), "--segments", "300"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path)], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["train_lines"] == 300
    assert result["peak_rss_mb"] > 0
