"""Makes, checks and replaces the Python environment of this package; tools/setup.sh is its front.

Set-up is a transaction. A new environment is built beside the old one, in a directory of its own
(tools/.venv-XXXXXXXX), checked, described by a file that is written last (espnet_part.json), and only
then the symbolic link tools/venv is renamed onto it. Whatever fails before leaves the old one as it
was. Environments hold their own absolute path, so processes that were started in the old one go on in
it; it is deleted when none is left. An environment that is not ours is never written to.

Needs nothing but a Python 3.10 or newer.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
VENV = TOOLS / "venv"
LOCK = TOOLS / ".setup.lock"
ACCEPTED = TOOLS / ".active_environments"  # environments of others that satisfy; env.sh reads it
DESCRIPTION = "espnet_part.json"  # in an environment of ours that is whole
OLD_STAMP = "espnet_part.stamp"  # what version 0.1 of this package wrote instead
IN_USE = ".in_use"  # env.sh holds a shared lock on it

# ESPnet's releases and the Pythons that each runs on, the newest first.
RELEASES = {"202611": ((3, 12), (3, 13)), "202511": ((3, 10), (3, 12))}
OLDEST = min(first for first, _ in RELEASES.values())
NEWEST = max(last for _, last in RELEASES.values())
GIGABYTES = 6

# Required by ESPnet 202511 for text-to-speech alone, and without wheels.
UNNEEDED = "pyworld"

HELP = """Makes a virtual environment, tools/venv, with this package and everything it needs. An active
virtual environment (or conda environment) that already satisfies the package is used as it is.
Called again, it does nothing unless setup.py or the commands have changed. About 6 GB of disk.
Whatever fails, an environment that worked goes on working: a new one is built beside it."""


class SetupError(Exception):
    """What the user must know, in one line."""


program = "setup.sh"  # who speaks; vllm_environment.py says another name


def say(*words: object) -> None:
    print(f"{program}:", *words, flush=True)


# ---------------------------------------------------------------------------------------------
# What is wanted, and what there is


def fingerprint() -> str:
    """What decides whether an environment is up to date: setup.py and the names of the commands."""
    digest = hashlib.sha256((ROOT / "setup.py").read_bytes())
    for path in sorted(ROOT.glob("espnet_part/bin/part_*.py")):
        digest.update(path.name.encode() + b"\n")
    return digest.hexdigest()


def known_extras() -> list[str]:
    """Return the names of setup.py's extras, without running it: that takes setuptools."""
    for statement in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "EXTRAS":
            return list(ast.literal_eval(statement.value))
    return []


def described(environment: Path) -> dict[str, Any]:
    """Return what stands in an environment of this checkout that is whole; {} for all others."""
    if not os.access(environment / "bin/python", os.X_OK):
        return {}
    try:
        found = json.loads((environment / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return _described_by_old_stamp(environment)
    whole = isinstance(found, dict) and found.get("root") == str(ROOT)
    return found if whole else {}


def _described_by_old_stamp(environment: Path) -> dict[str, Any]:
    try:
        root, _, extras = (environment / OLD_STAMP).read_text(encoding="utf-8").split("\n")[:3]
    except (OSError, ValueError):
        return {}
    return {"root": root, "extras": _names(extras)} if root == str(ROOT) else {}


def describe(environment: Path, extras: Sequence[str], python: str, espnet: str) -> None:
    """Declare an environment of ours whole."""
    content = {
        "root": str(ROOT),
        "fingerprint": fingerprint(),
        "extras": sorted(extras),
        "python": python,
        "espnet": espnet,
    }
    _write(environment / DESCRIPTION, json.dumps(content, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


# Run by an environment's own Python: prints what it lacks (nothing: it satisfies), then the extras of
# setup.py that it has, then the release of ESPnet.
INSPECT = r"""
import importlib.metadata as metadata, importlib.util, json, sys, types
from pathlib import Path
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
root, extras, unneeded = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]

asked = {}
setuptools = sys.modules["setuptools"] = types.ModuleType("setuptools")
setuptools.setup = lambda **keywords: asked.update(keywords)
setuptools.find_packages = lambda **keywords: []
path = root / "setup.py"
program = compile(path.read_text(encoding="utf-8"), str(path), "exec")
exec(program, {"__file__": str(path), "__name__": "__main__"})
known = asked.get("extras_require", {})
checked = {}

def applies(requirement, extras):
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras))

def lack(requirement):
    key = str(requirement)
    if key not in checked:
        checked[key] = ""
        checked[key] = _lack(requirement)
    return checked[key]

def _lack(requirement):
    if requirement.name == unneeded:
        return ""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(found.version, prereleases=True):
        return f"{requirement.name} is {found.version}, not {requirement.specifier}"
    below = (Requirement(line) for line in found.requires or ())
    return next(filter(None, (lack(r) for r in below if applies(r, requirement.extras))), "")

def lacks(lines):
    wanted = (Requirement(line) for line in lines)
    return next(filter(None, (lack(r) for r in wanted if applies(r, ()))), "")

def answer():
    version = ".".join(map(str, sys.version_info[:3]))
    if not SpecifierSet(asked.get("python_requires", "")).contains(version):
        return f"its Python is {version}"
    spec = importlib.util.find_spec("espnet_part")
    if spec is None:
        return "espnet_part is not installed in it"
    if Path(spec.origin).resolve().parent != root / "espnet_part":
        return f"its espnet_part is another one, {Path(spec.origin).resolve().parent}"
    for line in asked.get("entry_points", {}).get("console_scripts", ()):
        command = line.split("=")[0].strip()
        if not (Path(sys.prefix) / "bin" / command).exists():
            return f"the command {command} is not installed in it"
    return lacks([*asked.get("install_requires", ()), *(line for e in extras if e for line in known[e])])

try:
    espnet = metadata.version("espnet")
except metadata.PackageNotFoundError:
    espnet = ""
found = [extra for extra, lines in known.items() if not lacks(lines)]
print(json.dumps({"lacks": answer(), "extras": found, "espnet": espnet}))
"""


def inspect(environment: Path, extras: Sequence[str]) -> dict[str, Any]:
    """Ask an environment's Python whether it satisfies setup.py; writes nothing there.

    Returns:
        ``lacks``: what is missing, "" for nothing; ``extras``: those of setup.py that it has;
        ``espnet``: the release.
    """
    arguments = [str(ROOT), ",".join(extras), UNNEEDED]
    done = subprocess.run(
        [str(environment / "bin/python"), "-B", "-c", INSPECT, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env=_clean_environment(),
    )
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["its Python does not start"])[-1]
        return {"lacks": last, "extras": [], "espnet": ""}
    return dict(found)


def _clean_environment() -> dict[str, str]:
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in hidden}


# ---------------------------------------------------------------------------------------------
# Environments of others


def active_environments() -> list[Path]:
    """Return the active environments that are not this checkout's own."""
    named = (os.environ.get(name, "") for name in ("VIRTUAL_ENV", "CONDA_PREFIX"))
    return [
        Path(path)
        for path in named
        if path and TOOLS not in Path(path).parents and Path(path).resolve().parent != TOOLS
    ]


def _trace(environment: Path, extras: Sequence[str]) -> str:
    """What an environment is accepted by: it changes with each installation and removal in it."""
    changed = [path.stat().st_mtime_ns for path in environment.glob("lib/python3*/site-packages")]
    return f"{fingerprint()} {','.join(sorted(extras)) or '-'} {max(changed, default=0)}"


def accept(environment: Path, extras: Sequence[str]) -> bool:
    """Whether an active environment satisfies; remembered in this checkout, not in it."""
    try:
        lines = ACCEPTED.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    trace = _trace(environment, extras)
    if f"{environment}\t{trace}" in lines:
        say(f"the active environment {environment} is up to date")
        return True
    lacks = inspect(environment, extras)["lacks"]
    others = [line for line in lines if line.split("\t")[0] != str(environment)]
    if not lacks:
        with contextlib.suppress(OSError):  # not remembered in a checkout that is read-only
            _write(ACCEPTED, "".join(f"{line}\n" for line in (*others, f"{environment}\t{trace}")))
        say(f"the active environment {environment} satisfies the package and is used")
        return True
    if len(others) != len(lines):
        _write(ACCEPTED, "".join(f"{line}\n" for line in others))
    say(
        f"the active environment {environment} does not satisfy the package ({lacks}); tools/venv is used"
    )
    return False


# ---------------------------------------------------------------------------------------------
# Pythons


def version_of(python: str) -> tuple[int, int] | None:
    """Return a Python's version, None if it does not run."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            env=_clean_environment(),
        )
        major, minor = done.stdout.split()
        return (int(major), int(minor)) if done.returncode == 0 else None
    except (OSError, ValueError):
        return None


def release_for(version: tuple[int, int], espnet: str) -> str:
    """Return the release of ESPnet for a Python: the one asked for, the newest without; "" for none."""
    for release, (first, last) in RELEASES.items():
        if espnet in ("", release) and first <= version <= last:
            return release
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def supported_pythons(espnet: str) -> str:
    """Return the versions that run a release, in words."""
    first, last = RELEASES[espnet] if espnet else (OLDEST, NEWEST)
    numbers = [_dotted((3, minor)) for minor in range(first[1], last[1] + 1)]
    return f"{', '.join(numbers[:-1])} or {numbers[-1]}"


def find_python(asked: str, espnet: str) -> tuple[str, str]:
    """Return the path of the base Python, and the release of ESPnet for it."""
    wanted = f"Python {supported_pythons(espnet)}{f' (for ESPnet {espnet})' if espnet else ''}"
    newest_first = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    names = [asked, f"python{asked}"] if asked else ["python3", *newest_first]
    unfit = ""
    for name in names:
        path = shutil.which(name)
        version = version_of(path) if path else None
        if path and version and release_for(version, espnet):
            return path, release_for(version, espnet)
        if path and not unfit:
            unfit = f"is Python {_dotted(version)}" if version else "does not run"
    if asked and not unfit:
        raise SetupError(f"--python {asked}: no such command; install it or give its path")
    if asked:
        raise SetupError(f"--python {asked}: must be a {wanted}, and it {unfit}")
    if not unfit:
        raise SetupError(
            "python3 is missing; on Debian and Ubuntu: apt-get install python3 python3-venv"
        )
    raise SetupError(
        f"{wanted} is needed, and python3 {unfit}; install one and give it with --python"
    )


# ---------------------------------------------------------------------------------------------
# Building


class Log:
    """Runs commands, keeps what they print, and finds the likely cause of a failure in it."""

    def __init__(self, gigabytes: int = GIGABYTES) -> None:
        self.text = ""
        self.gigabytes = gigabytes

    def run(
        self, *command: str, quiet: bool = False, directory: Path = ROOT, **variables: str
    ) -> bool:
        """Run a command with its output shown (or not); return whether it succeeded."""
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=directory,
                env={**_clean_environment(), **variables},
                close_fds=False,  # a program that outlives a killed set-up holds the lock
            )
        except OSError as error:
            self.text += f"{error}\n"
            return False
        assert child.stdout is not None
        try:
            for line in child.stdout:
                self.text += line
                if not quiet:
                    print(line, end="", flush=True)
            return child.wait() == 0
        except BaseException:
            child.terminate()
            raise

    def says(self, *signs: str) -> bool:
        return any(sign in self.text.lower() for sign in signs)

    def disk_is_full(self) -> bool:
        return self.says("no space left", "os error 28", "quota exceeded") or free_megabytes() < 50

    def network_is_down(self) -> bool:
        return self.says(
            *(
                "name resolution",
                "dns error",
                "connection refused",
                "timed out",
                "network is unreachable",
            ),
            *("error sending request", "connection error", "failed to establish a new connection"),
            *("max retries exceeded", "from versions: none", "failed to fetch", "tunnel error"),
        )

    def fail(self, what: str) -> NoReturn:
        """End with the likely cause."""
        if self.disk_is_full():
            raise SetupError(
                f"{what} failed: the disk is full; the environment takes about {self.gigabytes} GB under"
                f" {TOOLS}"
            )
        if self.network_is_down():
            raise SetupError(
                f"{what} failed: the package registry cannot be reached; check the network, or give a"
                " mirror with PIP_INDEX_URL and UV_DEFAULT_INDEX"
            )
        raise SetupError(f"{what} failed; the messages above say why")


def free_megabytes() -> int:
    return shutil.disk_usage(TOOLS).free // 2**20


def make_empty(place: Path, base: str) -> None:
    """Make a virtual environment with pip, with whatever tool the machine has."""
    log = Log()
    if log.run(base, "-m", "venv", str(place), quiet=True):
        return
    # Debian ships python3 without ensurepip; other tools make an environment without it.
    ways: list[tuple[str, list[str | None]]] = [
        ("virtualenv", [shutil.which("virtualenv"), "--python", base]),
        ("virtualenv", [base, "-m", "virtualenv"]),
        ("uv", [shutil.which("uv"), "venv", "--seed", "--python", base]),
    ]
    tried = False
    for tool, command in ways:
        program, arguments = command[0], [word for word in command[1:] if word]
        if not program or (
            program == base and not log.run(base, *arguments, "--version", quiet=True)
        ):
            continue
        say(f"python -m venv does not work here; using {tool}")
        shutil.rmtree(place, ignore_errors=True)
        tried = True
        if log.run(program, *arguments, str(place), quiet=True):
            return
    print(log.text, end="", file=sys.stderr)
    if not tried and not log.disk_is_full() and version_of(base):
        has_pip = subprocess.run([base, "-c", "import ensurepip"], capture_output=True)
        if has_pip.returncode != 0:
            raise SetupError(
                "this Python cannot make virtual environments: ensurepip is missing."
                " On Debian and Ubuntu: apt-get install python3-venv (or virtualenv, or uv)"
            )
    log.fail("making the virtual environment")


def compiles(place: Path) -> bool:
    """Whether C++ extensions for an environment's Python can be compiled here."""
    query = 'import sysconfig; print(sysconfig.get_path("include"))'
    done = subprocess.run([str(place / "bin/python"), "-c", query], capture_output=True, text=True)
    compiler = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
    return compiler and (Path(done.stdout.strip()) / "Python.h").exists()


def find_uv(place: Path, log: Log) -> str:
    """Return a uv: the machine's, the old environment's, or a new one from the registry; "" for none.

    uv resolves in seconds what takes pip minutes, and accepts the metadata of ci_sdr, a requirement of
    ESPnet 202511 that new versions of pip refuse.
    """
    for command in (shutil.which("uv"), str(VENV / "bin/uv")):
        if command and log.run(command, "--version", quiet=True):
            return command
    pip = (
        str(place / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    )
    return str(place / "bin/uv") if log.run(*pip, "uv") else ""


def install(place: Path, extras: Sequence[str], espnet: str) -> None:
    """Install this package and what it needs into a new environment."""
    target = f".[{','.join(extras)}]" if extras else "."
    say(
        f"installing {target} with ESPnet {espnet} (about {GIGABYTES} GB; minutes when nothing is cached)"
    )
    log = Log()
    python = str(place / "bin/python")
    wanted = ["-e", target, f"espnet=={espnet}"]
    options: list[str] = []
    if espnet == "202511" and not compiles(place):
        say(
            f"no C++ compiler or no Python headers here: {UNNEEDED}, which only ESPnet's text-to-speech"
            " needs, is left out, and pip check will name it (on Debian and Ubuntu, to have it:"
            " apt-get install g++ python3-dev)"
        )
        override = place / "no-compiler.txt"
        override.write_text(f'{UNNEEDED} ; python_version < "3"\n', encoding="utf-8")
        options = ["--override", str(override)]
    if uv := find_uv(place, log):
        command = [uv, "pip", "install", "--python", python, *options, *wanted, "uv"]
        if log.run(*command, UV_DEFAULT_INDEX=pip_index(python)):
            return
        if log.disk_is_full():
            log.fail("installing the package")
        if log.network_is_down():
            say("the package registry cannot be reached; trying with what is in uv's cache")
            if log.run(*command, "--offline"):
                return
            log.fail("installing the package")
    say("uv did not work; trying pip, which takes longer")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    if espnet == "202511" and not log.run(*pip, "--quiet", "pip<24.1"):  # see find_uv
        log.fail("installing pip")
    if not log.run(*pip, *wanted):
        log.fail("installing the package")


def pip_index(python: str) -> str:
    """The registry that uv shall use: that of pip's configuration, which uv does not read."""
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        if os.environ.get(name):
            return os.environ[name]
    command = [python, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "https://pypi.org/simple"


def check(place: Path, extras: Sequence[str]) -> None:
    """Refuse a new environment that lacks something or in which the package does not start."""
    say("checking the new environment")
    log = Log()
    python = str(place / "bin/python")
    if not log.run(python, "-m", "pip", "check"):
        say("warning: pip check finds the conflicts above")
    if lacks := inspect(place, extras)["lacks"]:
        raise SetupError(f"the installation is not what setup.py asks for: {lacks}")
    if not log.run(python, "-c", "import espnet_part.task", directory=Path("/")):
        log.fail("importing espnet_part in the new environment")


def build(base: str, espnet: str, extras: Sequence[str]) -> None:
    """Build a new environment beside the old one, check it, and put it in its place."""
    with new_place(VENV, ".venv-", GIGABYTES) as place:
        say(f"making tools/venv with Python {_dotted(version_of(base) or (0, 0))} ({base})")
        make_empty(place, base)
        (place / IN_USE).touch()
        install(place, extras, espnet)
        check(place, extras)
        describe(place, extras, base, espnet)
        if VENV.exists() and not VENV.is_symlink():
            # Made by version 0.1 or by hand: processes in it would go on with the other's files.
            if users := processes_in(VENV):
                raise SetupError(
                    f"tools/venv must be replaced and process {users[0]} runs in it;"
                    " call again when it has ended"
                )
            VENV.rename(TOOLS / f".venv-old-{os.getpid()}")
        swap(place, VENV)


@contextlib.contextmanager
def new_place(venv: Path, prefix: str, gigabytes: int) -> Iterator[Path]:
    """An empty directory for a new environment; taken away if it has not become ``venv`` by an error."""
    minimum = int(os.environ.get("PART_SETUP_MIN_MB", gigabytes * 1000))
    if free_megabytes() < minimum:
        raise SetupError(
            f"only {free_megabytes()} MB are free under {TOOLS}; the environment takes about"
            f" {gigabytes * 1000} (PART_SETUP_MIN_MB=0 to try all the same)"
        )
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=TOOLS))
    place.chmod(0o755)  # mkdtemp makes it for its owner alone
    try:
        yield place
    except BaseException:
        if not venv.is_symlink() or venv.resolve() != place:
            shutil.rmtree(place, ignore_errors=True)
        raise


def swap(place: Path, venv: Path) -> None:
    """Let the link ``venv`` be a new environment, at once."""
    link = place.with_name(f"{place.name}.link")
    link.symlink_to(place.name)
    link.replace(venv)


def processes_in(environment: Path) -> list[int]:
    """Return the processes on this machine that were started in an environment or hold files of it."""
    mine = f"{environment}/".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        for name in ("cmdline", "environ", "maps"):
            with contextlib.suppress(OSError):  # ended, or another user's
                content = (process / name).read_bytes()
                if mine in content or (b"VIRTUAL_ENV=" + mine[:-1] + b"\0") in content:
                    found.append(int(process.name))
                    break
    return sorted(found)


def is_used(environment: Path) -> bool:
    """Whether a process uses an environment, here (found in /proc) or elsewhere (it holds a lock)."""
    if processes_in(environment):
        return True
    try:
        with (environment / IN_USE).open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def delete_leftovers() -> None:
    """Delete environments that were replaced or never finished, but those that are in use.

    Also restores tools/venv where a set-up was killed while it moved an old plain directory.
    """
    if not VENV.exists() and not VENV.is_symlink():
        for old in sorted(TOOLS.glob(".venv-old-*")):
            old.rename(VENV)
            break
    delete_unused(VENV, (*TOOLS.glob(".venv-*"), *TOOLS.glob(".venv.old.*")))


def delete_unused(venv: Path, places: Sequence[Path]) -> None:
    """Delete environments that nobody uses and that are not ``venv``, and links that were left."""
    current = venv.resolve() if venv.exists() else None
    for place in places:
        if place.is_symlink():
            place.unlink()
        elif place != current:
            if is_used(place):
                say(f"{place} is still in use and stays until a later set-up")
            else:
                shutil.rmtree(place, ignore_errors=True)


# ---------------------------------------------------------------------------------------------
# The whole


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock on this checkout's environments; the programs that are started hold it as well."""
    try:
        file = LOCK.open("a+")
    except OSError as error:
        raise SetupError(f"{TOOLS} cannot be written to: {error.strerror}") from None
    with file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            say(
                f"another set-up is at work (process {file.read().strip() or 'unknown'}); waiting for it"
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):  # a full disk: the number is only for the reader
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield


def fits(found: dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether an environment of ours has the Python, the release and the extras that are asked for."""
    if not found or not set(options.extras) <= set(found.get("extras", ())):
        return False
    if options.espnet and found.get("espnet") != options.espnet:
        return False
    if not options.python:
        return True
    base, _ = find_python(options.python, options.espnet)
    return version_of(base) == version_of(str(VENV / "bin/python"))


def up_to_date(options: argparse.Namespace) -> bool:
    found = described(VENV)
    if found.get("fingerprint") != fingerprint() or not fits(found, options):
        return False
    say("tools/venv is up to date")
    return True


def set_up(options: argparse.Namespace) -> None:
    """Leave an environment that satisfies: the active one, tools/venv as it is, or a new one."""
    own = options.force or options.python or options.espnet
    if not own and any(accept(active, options.extras) for active in active_environments()):
        return
    if not options.force and up_to_date(options):
        return
    if options.python:
        find_python(options.python, options.espnet)  # a wrong one is told before anything is done
    with one_at_a_time():
        delete_leftovers()
        if not options.force and up_to_date(options):
            return
        extras, python, espnet = options.extras, options.python, options.espnet
        if os.access(VENV / "bin/python", os.X_OK):
            old, state = described(VENV), inspect(VENV, extras)
            extras = sorted({*extras, *old.get("extras", state["extras"])})
            if not options.force and fits(old, options) and not state["lacks"]:
                describe(VENV, extras, old.get("python", ""), state["espnet"])
                say("tools/venv has all that setup.py asks for now")
                return
            # The Python and the release that were chosen once stay until others are asked for.
            python = python or old.get("python", "")
            version = version_of(find_python(python, "")[0]) if python else None
            if not espnet and version and release_for(version, state["espnet"]):
                espnet = state["espnet"]
            say("tools/venv will be replaced; until the new one is ready it stays as it is")
        base, espnet = find_python(python, espnet)
        build(base, espnet, extras)
        delete_leftovers()
    say(
        "done: tools/venv is ready (the recipes find it; for the commands part_*: . tools/venv/bin/activate)"
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "setup.sh",
        usage="tools/setup.sh [options]",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--python",
        default="",
        help=f"Python to build on: a path, or a version such as 3.12 ({supported_pythons('')};"
        " default: python3, or the newest fitting python3.x on PATH)",
    )
    parser.add_argument(
        "--espnet",
        default="",
        help="release of ESPnet: 202511 (Python 3.10 to 3.12) or 202611 (3.12 and 3.13); default: the"
        " newest that the Python runs",
    )
    parser.add_argument(
        "--extras",
        default="",
        help="comma-separated extras of setup.py to install too: mini (speech synthesis of the embedded"
        " corpus), dev (tests), docs (tools/docs.sh), espnet3 (egs3), qlora (LLMs in 4 bits),"
        " ja, ko, zh, wandb; what is there is kept",
    )
    parser.add_argument("--force", default="false", help="true: rebuild tools/venv from nothing")
    options = read(parser, arguments)
    if options.force not in ("true", "false"):
        raise SetupError(f"--force must be true or false: {options.force}")
    if not re.fullmatch(r"[A-Za-z0-9_,-]*", options.extras):
        raise SetupError(f"--extras must be names with commas between: {options.extras}")
    if options.espnet not in ("", *RELEASES):
        raise SetupError(f"--espnet must be {' or '.join(sorted(RELEASES))}: {options.espnet}")
    options.force = options.force == "true"
    options.extras = _names(options.extras)
    known = known_extras()
    for extra in options.extras:
        if extra not in known:
            raise SetupError(
                f"--extras: there is no {extra}; setup.py has {', '.join(sorted(known))}"
            )
    if "espnet3" in options.extras:
        if options.espnet == "202511":
            raise SetupError("--extras espnet3: ESPnet 202511 has no ESPnet 3; leave --espnet out")
        options.espnet = "202611"
    return options


def read(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """A program's options."""
    parser.error = _refuse  # type: ignore[method-assign]
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise SetupError(f"unknown option {unknown[0]} (see tools/{program} --help)")
    return options


def _refuse(message: str) -> NoReturn:
    raise SetupError(
        f"{message.replace('expected one argument', 'needs a value')} (see tools/{program} --help)"
    )


def main(arguments: Sequence[str]) -> int:
    return attempt(lambda: set_up(parse(arguments)), VENV)


def attempt(work: Callable[[], None], venv: Path) -> int:
    """Do a program's work; the exit status. What goes wrong is a line, and what becomes of ``venv``."""
    # A signal ends the program as an exception does: what was begun is taken away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        work()
        return 0
    except SetupError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        status = 130
    except OSError as error:
        print(f"{program}: error: {error.filename or TOOLS}: {error.strerror}", file=sys.stderr)
        status = 1
    if described(venv):
        print(f"{program}: tools/{venv.name} is as it was", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
