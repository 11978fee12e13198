"""tools/setup.sh: what it says and does where something is missing or fails.

A stand-in installs; the real installation is what runs these tests.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = "bash env dirname sleep cut grep readlink flock"
PACKAGE = """from setuptools import setup

EXTRAS = {
    "mini": ["part-mini"],
    "dev": ["part-dev>=1"],
    "espnet3": ["part-lightning"],
    "ja": ["part-ja"],
}
setup(
    name="espnet_part",
    python_requires=">=3.10",
    install_requires=[],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["part_one = espnet_part.bin.part_one:main"]},
)
"""
# Stands for uv: `uv pip install --python PYTHON … -e .[extras] …` writes what an installation would
# leave, or does what the variable FAKE_UV says.
UV = """#!{python}
import os, re, signal, sys, time
from pathlib import Path
if "--version" in sys.argv:
    sys.exit()
how = os.environ.get("FAKE_UV", "")
if how == "full":
    sys.exit("error: No space left on device (os error 28)")
if how == "offline":
    sys.exit("error: error sending request for url: dns error")
python = Path(sys.argv[sys.argv.index("--python") + 1])
site = next(python.parents[1].glob("lib/python3*/site-packages"))
target = sys.argv[sys.argv.index("-e") + 1]
for extra in re.findall("[a-z]+", target):
    info = site / f"part_{{extra}}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: part-{{extra}}\\nVersion: 1.0\\n")
if how == "die":
    os.kill(os.getppid(), signal.SIGKILL)
if how == "stall":
    Path(os.environ["FAKE_STARTED"]).touch()
    time.sleep(60)
if how == "nothing":
    sys.exit()
(site / "part.pth").write_text(f"{{os.getcwd()}}\\n{paths}")
for command in Path("espnet_part/bin").glob("part_*.py"):
    (python.parent / command.stem).touch()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without requirements, and a bin directory with common commands and no Python."""
    root = tmp_path / "check out"
    (root / "tools").mkdir(parents=True)
    (root / "espnet_part/bin").mkdir(parents=True)
    for name in ("setup.sh", "env.sh", "environment.py"):
        shutil.copy(ROOT / "tools" / name, root / "tools")
    (root / "setup.py").write_text(PACKAGE)
    for name in ("__init__.py", "task.py", "bin/part_one.py"):
        (root / "espnet_part" / name).touch()
    (tmp_path / "bin").mkdir()
    for name in TOOLS.split():
        place = shutil.which(name)
        assert place, name
        (tmp_path / "bin" / name).symlink_to(place)
    return root


@pytest.fixture
def ready(checkout: Path) -> Path:
    """The same with a Python, a stand-in for uv, and a whole environment with the extra mini."""
    # environments without pip are made in a moment; packaging is this environment's
    path = checkout.parent / "bin/python3"
    path.write_text(
        f"""#!/bin/bash
if [ "$1 $2" = "-m venv" ]; then exec {sys.executable} -m venv --without-pip "$3"; fi
exec {sys.executable} "$@"
"""
    )
    path.chmod(0o755)
    add_uv(checkout)
    done = setup(checkout, "--extras", "mini")
    assert done.returncode == 0, done.stderr
    return checkout


def add_uv(checkout: Path) -> None:
    libraries = checkout.parent / "libraries"
    libraries.mkdir()
    (libraries / "packaging").symlink_to(Path(sysconfig.get_path("purelib")) / "packaging")
    uv = checkout.parent / "bin/uv"
    uv.write_text(UV.format(python=sys.executable, paths=libraries))
    uv.chmod(0o755)


def works(checkout: Path) -> dict[str, Any]:
    """Assert that tools/venv starts the package; return its description."""
    venv = checkout / "tools/venv"
    query = "import espnet_part.task; print(espnet_part.__file__)"
    done = subprocess.run(
        [venv / "bin/python", "-c", query], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.strip() == str(checkout / "espnet_part/__init__.py"), done.stderr
    return dict(json.loads((venv / "espnet_part.json").read_text()))


def environments(checkout: Path) -> list[Path]:
    return sorted((checkout / "tools").glob(".venv-*"))


def variables(checkout: Path) -> dict[str, str]:
    return {
        "PATH": str(checkout.parent / "bin"),
        "HOME": str(checkout.parent),
        "PART_SETUP_MIN_MB": "0",
    }


def setup(checkout: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "tools/setup.sh"), *options],
        capture_output=True,
        text=True,
        env={**variables(checkout), **more},
    )


def add_python(checkout: Path, refuse: str, name: str = "python3") -> None:
    """A Python that fails where its arguments match the shell pattern."""
    path = checkout.parent / "bin" / name
    path.write_text(
        f'#!/bin/bash\ncase "$*" in {refuse}) echo "No module named ensurepip"; exit 1 ;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)


def test_no_python(checkout: Path) -> None:
    done = setup(checkout)
    assert done.returncode == 1
    assert "python3 is missing; on Debian and Ubuntu: apt-get install python3" in done.stderr


def test_python_too_old(checkout: Path) -> None:
    add_python(checkout, "*version_info*")
    done = setup(checkout)
    assert done.returncode == 1
    assert "Python 3.10, 3.11, 3.12 or 3.13 is needed, and python3 is Python 3" in done.stderr


def test_another_python_on_path_is_found(checkout: Path) -> None:
    add_python(checkout, "*version_info*")
    add_python(checkout, '"-m venv"* | *ensurepip*', "python3.11")
    done = setup(checkout)
    assert "python3.11" in done.stdout


def test_no_venv_module(checkout: Path) -> None:
    add_python(checkout, '"-m venv"* | *ensurepip* | *virtualenv*')
    done = setup(checkout)
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / "tools/venv").exists()


def test_virtualenv_serves_where_venv_does_not(checkout: Path) -> None:
    add_python(checkout, '"-m venv"* | *ensurepip*')
    tool = checkout.parent / "bin/virtualenv"
    tool.write_text("#!/bin/bash\necho virtualenv was called; exit 1\n")
    tool.chmod(0o755)
    done = setup(checkout)
    assert "using virtualenv" in done.stdout
    assert "virtualenv was called" in done.stderr
    assert done.returncode == 1


def test_no_disk(checkout: Path) -> None:
    add_python(checkout, "nothing")
    done = setup(checkout, PART_SETUP_MIN_MB="999999999")
    assert done.returncode == 1
    assert "MB are free under" in done.stderr
    assert not (checkout / "tools/venv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--extras", "nope"], "there is no nope; setup.py has dev, espnet3, ja, mini"),
        (["--espnet", "202301"], "--espnet must be 202511 or 202611"),
        (["--extras", "espnet3", "--espnet", "202511"], "ESPnet 202511 has no ESPnet 3"),
        (["--nope"], "unknown option --nope"),
        (["--python"], "needs a value"),
        (["--python", "2.7"], "--python 2.7: no such command"),
        (["--extras", "a b"], "must be names"),
        (["--force", "yes"], "must be true or false"),
    ],
)
def test_wrong_options(checkout: Path, options: list[str], message: str) -> None:
    add_python(checkout, "nothing")
    done = setup(checkout, *options)
    assert done.returncode == 1
    assert message in done.stderr


def test_done_is_done_and_stays_done_whatever_python_leaves_behind(ready: Path) -> None:
    before = environments(ready)
    subprocess.run(
        [
            ready / "tools/venv/bin/python",
            "-c",
            "import espnet_part.task, espnet_part.bin.part_one",
        ],
        env={"PATH": "/bin"},
        cwd="/",
        check=True,
    )
    assert (ready / "espnet_part/bin/__pycache__").exists()
    done = setup(ready, "--extras", "mini", FAKE_UV="offline")
    assert (done.returncode, done.stdout) == (0, "setup.sh: tools/venv is up to date\n")
    assert environments(ready) == before


def test_a_change_that_asks_for_nothing_new_builds_nothing(ready: Path) -> None:
    before = environments(ready)
    (ready / "setup.py").write_text(PACKAGE + "# a comment\n")
    done = setup(ready, FAKE_UV="offline")
    assert "has all that setup.py asks for now" in done.stdout
    assert setup(ready).stdout == "setup.sh: tools/venv is up to date\n"
    assert environments(ready) == before


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("offline", "package registry cannot be reached"),
        ("full", "the disk is full"),
        ("nothing", "is not what setup.py asks for"),
    ],
)
def test_a_failure_leaves_the_environment_as_it_was(ready: Path, how: str, message: str) -> None:
    before = environments(ready)
    done = setup(ready, "--extras", "dev", FAKE_UV=how)
    assert done.returncode == 1
    assert message in done.stderr
    assert "tools/venv is as it was" in done.stderr
    assert environments(ready) == before
    assert works(ready)["extras"] == ["mini"]


def test_a_set_up_killed_while_it_installs_harms_nothing(ready: Path) -> None:
    before = environments(ready)
    done = setup(ready, "--extras", "dev", FAKE_UV="die")
    assert done.returncode == -9
    assert works(ready)["extras"] == ["mini"]
    assert len(environments(ready)) == 2
    assert setup(ready).stdout == "setup.sh: tools/venv is up to date\n"
    done = setup(ready, "--extras", "dev")
    assert done.returncode == 0, done.stderr
    assert works(ready)["extras"] == ["dev", "mini"]
    (now,) = environments(ready)
    assert now not in before


@pytest.mark.parametrize(
    "step", ["write_text", "touch", "rename", "replace", "symlink_to", "rmtree"]
)
def test_killed_at_each_step_it_leaves_a_whole_environment(ready: Path, step: str) -> None:
    """The program is killed before each of its changes of the disk in turn."""
    for count in range(1, 20):
        kill = f"""
import os, pathlib, runpy, shutil, signal, sys
calls = 0
def dying(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == {count}:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
place = shutil if {step!r} == "rmtree" else pathlib.Path
setattr(place, {step!r}, dying(getattr(place, {step!r})))
sys.argv = ["environment.py", "--force", "true"]
runpy.run_path({str(ready / "tools/environment.py")!r}, run_name="__main__")
"""
        done = subprocess.run(
            [sys.executable, "-c", kill], env=variables(ready), capture_output=True, text=True
        )
        assert works(ready)["extras"] == ["mini"], done.stderr
        if done.returncode != -9:
            assert done.returncode == 0, done.stderr
            break
    assert len(environments(ready)) == 1


def test_extras_are_kept_when_it_is_built_anew(ready: Path) -> None:
    (ready / "espnet_part/bin/part_two.py").touch()
    content = PACKAGE.replace('main"]', 'main", "part_two = espnet_part.bin.part_two:main"]')
    (ready / "setup.py").write_text(content)
    before = environments(ready)
    assert setup(ready).returncode == 0
    assert works(ready)["extras"] == ["mini"]
    assert environments(ready) != before
    assert (ready / "tools/venv/bin/part_two").exists()


def test_an_environment_of_the_first_version_is_kept_or_replaced_whole(ready: Path) -> None:
    (place,) = environments(ready)
    venv = ready / "tools/venv"
    venv.unlink()
    place.rename(venv)  # a plain directory, as it was
    (venv / "espnet_part.json").unlink()
    (venv / "espnet_part.stamp").write_text(f"{ready}\nsome hash\nja,mini\n")
    assert "has all that setup.py asks for now" in setup(ready).stdout
    assert not venv.is_symlink()
    with subprocess.Popen([venv / "bin/python", "-c", "input()"], stdin=subprocess.PIPE) as user:
        done = setup(ready, "--extras", "dev")
        assert f"process {user.pid} runs in it" in done.stderr
        assert works(ready)["extras"] == ["ja", "mini"]
        user.communicate(b"\n")
    assert setup(ready, "--extras", "dev").returncode == 0
    assert venv.is_symlink()
    assert works(ready)["extras"] == ["dev", "ja", "mini"]


def test_what_runs_keeps_its_environment(ready: Path) -> None:
    (old,) = environments(ready)
    run = f'. "{ready}/tools/env.sh"; python -c "input(); import part_later"'
    with subprocess.Popen(
        ["bash", "-euc", run], stdin=subprocess.PIPE, env=variables(ready), stderr=subprocess.PIPE
    ) as user:
        for _ in range(500):  # until it holds the lock
            held = [file.resolve() for file in Path(f"/proc/{user.pid}/fd").iterdir()]
            if old / ".in_use" in held:
                break
            time.sleep(0.02)
        done = setup(ready, "--extras", "dev")
        assert done.returncode == 0, done.stderr
        assert "is still in use" in done.stdout
        assert len(environments(ready)) == 2
        site = next(old.glob("lib/python3*/site-packages"))
        (site / "part_later.py").touch()
        _, errors = user.communicate(b"\n")
        assert user.returncode == 0, errors
    assert setup(ready, "--force", "true").returncode == 0
    assert old not in environments(ready)


def test_a_foreign_active_environment_is_used_and_never_written_to(
    ready: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree((ready / "tools/venv").resolve(), other, symlinks=True)
    (other / "espnet_part.json").unlink()
    shutil.rmtree(ready / "tools/venv", ignore_errors=True)

    def content() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in other.rglob("*"))

    before = content()
    done = setup(ready, VIRTUAL_ENV=str(other))
    assert f"the active environment {other} satisfies the package and is used" in done.stdout
    done = setup(ready, VIRTUAL_ENV=str(other))
    assert done.stdout == f"setup.sh: the active environment {other} is up to date\n"
    assert content() == before
    run = f'. "{ready}/tools/env.sh"; echo "$VIRTUAL_ENV"'
    activated = subprocess.run(
        ["bash", "-euc", run],
        env={**variables(ready), "VIRTUAL_ENV": str(other)},
        capture_output=True,
        text=True,
    )
    assert activated.stdout.strip() == str(other)
    shutil.rmtree(next(other.glob("lib/python3*/site-packages/part_mini*")))
    done = setup(ready, "--extras", "mini", VIRTUAL_ENV=str(other), FAKE_UV="offline")
    assert "does not satisfy the package (part-mini is missing)" in done.stdout


def test_another_checkouts_environment_is_not_touched(ready: Path, tmp_path: Path) -> None:
    """Its tools/venv is active, or tools was copied with the environment in it."""
    second = tmp_path / "second"
    shutil.copytree(ready, second, symlinks=True)
    done = setup(second, VIRTUAL_ENV=str(environments(ready)[0]))
    assert "its espnet_part is another one" in done.stdout
    assert done.returncode == 0, done.stderr
    assert works(second)["extras"] == ["mini"]
    assert works(ready)["extras"] == ["mini"]
    assert setup(ready).stdout == "setup.sh: tools/venv is up to date\n"


def test_a_second_call_waits_for_the_first(ready: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = [str(ready / "tools/setup.sh"), "--extras", "dev"]
    environment = {**variables(ready), "FAKE_UV": "stall", "FAKE_STARTED": str(started)}
    with subprocess.Popen(command, env=environment, start_new_session=True) as first:
        while not started.exists():
            time.sleep(0.05)
        # up to date is answered at once
        assert setup(ready).stdout == "setup.sh: tools/venv is up to date\n"
        with subprocess.Popen(
            [*command, "--force", "true"], env=variables(ready), stdout=subprocess.PIPE, text=True
        ) as second:
            assert second.stdout is not None
            assert f"another set-up is at work (process {first.pid})" in second.stdout.readline()
            os.killpg(first.pid, signal.SIGKILL)
            second.communicate()
            assert second.returncode == 0
    assert works(ready)["extras"] == ["dev", "mini"]
    assert len(environments(ready)) == 1


def test_a_signal_takes_away_what_was_begun(ready: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    environment = {**variables(ready), "FAKE_UV": "stall", "FAKE_STARTED": str(started)}
    command = [str(ready / "tools/setup.sh"), "--extras", "dev"]
    with subprocess.Popen(command, env=environment) as first:
        while not started.exists():
            time.sleep(0.05)
        first.terminate()
        assert first.wait() == 143
    assert len(environments(ready)) == 1
    assert works(ready)["extras"] == ["mini"]


SCRIPTS = [
    *(path for path in sorted(ROOT.glob("egs2/*/part/*.sh")) if "exit" in path.read_text()),
    ROOT / "tools/setup.sh",
    ROOT / "tools/test.sh",
    ROOT / "tools/fresh_debian.sh",
]
STARTED = [path for path in SCRIPTS if os.access(path, os.X_OK)]


def test_every_script_that_is_started_is_seen() -> None:
    names = {path.name for path in STARTED}
    assert {"run.sh", "part.sh", "baseline.sh", "setup.sh", "test.sh"} <= names
    assert len([path for path in STARTED if path.name == "run.sh"]) >= 6


@pytest.mark.parametrize("shell", [["sh"], ["bash", "--posix"]])
@pytest.mark.parametrize("script", STARTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_another_shell_is_refused_in_one_line(script: Path, shell: list[str]) -> None:
    done = subprocess.run([*shell, str(script), "--help"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"{script}: error: a script for bash 4.4 or newer; start it by its name (./NAME),"
        " not with sh or zsh\n"
    )
