"""The tutorial that trains a model from Python does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import SITE, blocks


def test_the_tutorial_s_model_learns_to_hear(tmp_path: Path) -> None:
    cells = [block.content for block in blocks(SITE / "tutorial/python.md")]
    assert len(cells) > 6
    notebook = tmp_path / "notebook.py"
    notebook.write_text("\n".join([*cells, "assert wer < 0.2, wer"]), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, notebook], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # what part_describe shows in the middle of it
    assert "| within_language  | 100 steps | adapter, encoder, encoder.embed_positions, llm |" in (
        done.stdout
    )
