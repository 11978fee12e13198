"""tools/setup.sh where something is missing. The real installation is what runs these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = "bash env cat ls sha256sum cut dirname head tr sed sort paste df awk grep tee mktemp rm mv flock"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what set-up reads, and a bin directory with the common commands and no Python."""
    root = tmp_path / "check out"
    (root / "tools").mkdir(parents=True)
    (root / "espnet_part/bin").mkdir(parents=True)
    shutil.copy(ROOT / "tools/setup.sh", root / "tools")
    shutil.copy(ROOT / "setup.py", root)
    (tmp_path / "bin").mkdir()
    for name in TOOLS.split():
        place = shutil.which(name)
        assert place, name
        (tmp_path / "bin" / name).symlink_to(place)
    return root


def setup(checkout: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "tools/setup.sh"), *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(checkout.parent / "bin"), "HOME": str(checkout.parent), **variables},
    )


def add_python(checkout: Path, refuse: str, name: str = "python3") -> None:
    """A Python that fails where its arguments match the shell pattern."""
    path = checkout.parent / "bin" / name
    path.write_text(
        f'#!/bin/bash\ncase "$*" in {refuse}) echo "No module named ensurepip"; exit 1 ;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)


def test_no_python(checkout):
    done = setup(checkout)
    assert done.returncode == 1
    assert "python3 is missing; on Debian and Ubuntu: apt-get install python3" in done.stderr


def test_python_too_old(checkout):
    add_python(checkout, "*version_info*")
    done = setup(checkout)
    assert done.returncode == 1
    assert "Python 3.10, 3.11 or 3.12 is needed, and python3 is Python 3" in done.stderr


def test_another_python_on_path_is_found(checkout):
    add_python(checkout, "*version_info*")
    add_python(checkout, '"-m venv"* | *ensurepip*', "python3.11")
    done = setup(checkout)
    assert "python3.11" in done.stdout


def test_no_venv_module(checkout):
    add_python(checkout, '"-m venv"* | *ensurepip* | *virtualenv*')
    done = setup(checkout)
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / "tools/venv").exists()


def test_virtualenv_serves_where_venv_does_not(checkout):
    add_python(checkout, '"-m venv"* | *ensurepip*')
    tool = checkout.parent / "bin/virtualenv"
    tool.write_text("#!/bin/bash\necho virtualenv was called; exit 1\n")
    tool.chmod(0o755)
    done = setup(checkout)
    assert "using virtualenv" in done.stdout
    assert "virtualenv was called" in done.stderr
    assert done.returncode == 1


def test_no_disk(checkout):
    add_python(checkout, "nothing")
    done = setup(checkout, PART_SETUP_MIN_MB="999999999")
    assert done.returncode == 1
    assert "MB are free under" in done.stderr
    assert not (checkout / "tools/venv").exists()


def test_no_network(checkout):
    add_python(checkout, "nothing")
    nowhere = "http://127.0.0.1:9/simple"
    done = setup(
        checkout,
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL=nowhere,
        PIP_RETRIES="0",
        PART_SETUP_MIN_MB="0",
    )
    assert done.returncode == 1
    assert "package registry cannot be reached" in done.stderr
    assert not (checkout / "tools/venv/espnet_part.stamp").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nope"], "unknown option --nope"),
        (["--python"], "needs a value"),
        (["--python", "2.7"], "--python 2.7: no such command"),
        (["--extras", "a b"], "must be names"),
        (["--force", "yes"], "must be true or false"),
    ],
)
def test_wrong_options(checkout, options, message):
    add_python(checkout, "nothing")
    done = setup(checkout, *options)
    assert done.returncode == 1
    assert message in done.stderr


def test_stamp_ends_it_at_once_and_follows_setup_py(checkout):
    venv = checkout / "tools/venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    listing = subprocess.run(
        "{ cat setup.py; ls espnet_part/bin; } | sha256sum | cut -d ' ' -f 1",
        shell=True,
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    stamp = venv / "espnet_part.stamp"
    stamp.write_text(f"{checkout}\n{listing.stdout}dev,mini\n")
    done = setup(checkout, "--extras", "mini")
    assert (done.returncode, done.stdout) == (0, "setup.sh: tools/venv is up to date\n")

    add_python(checkout, "nothing")
    with (checkout / "setup.py").open("a") as file:
        file.write("# changed\n")
    done = setup(checkout, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    assert "tools/venv" in done.stdout
    assert "up to date" not in done.stdout
    assert not stamp.exists()


def test_active_environment_that_satisfies_is_used(checkout):
    # the environment of these tests is one for this checkout, not for the copy
    prefix = sys.prefix
    add_python(checkout, "nothing")
    done = setup(checkout, VIRTUAL_ENV=prefix, PART_SETUP_MIN_MB="999999999")
    assert f"the active environment {prefix} does not satisfy the package" in done.stdout


SCRIPTS = [
    *(path for path in sorted(ROOT.glob("egs2/*/part/*.sh")) if "exit" in path.read_text()),
    ROOT / "tools/setup.sh",
    ROOT / "tools/test.sh",
]
STARTED = [path for path in SCRIPTS if os.access(path, os.X_OK)]


def test_every_script_that_is_started_is_seen():
    names = {path.name for path in STARTED}
    assert {"run.sh", "part.sh", "baseline.sh", "setup.sh", "test.sh"} <= names
    assert len([path for path in STARTED if path.name == "run.sh"]) >= 6


@pytest.mark.parametrize("shell", [["sh"], ["bash", "--posix"]])
@pytest.mark.parametrize("script", STARTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_another_shell_is_refused_in_one_line(script, shell):
    done = subprocess.run([*shell, str(script), "--help"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"{script}: error: a script for bash 4.4 or newer; start it by its name (./NAME),"
        " not with sh or zsh\n"
    )
