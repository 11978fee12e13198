"""What a guide shows can be typed: files with a title are written, and its commands are run in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, SITE, blocks
from tests.recipes.tiny import write_clip

#: Guides whose blocks stand for themselves. All others need a recipe that has run, or a cluster:
#: their commands are checked for options that there are.
RUN = ["howto/corpus.md", "howto/kind.md", "howto/task.md", "reference/schedule.md"]
#: `pip install .` installs where only this test looks, and without a network.
PIP = 'pip() { command pip "$@" --quiet --no-deps --no-build-isolation --target site; }\n'
PAGES = [*SITE.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += ROOT.glob("egs2/*/part/README.md")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A directory with four recordings and the recipes' configurations."""
    for name in "abcd":
        write_clip(tmp_path / f"corpus/{name}.wav")
    (tmp_path / "corpus/valid.tsv").write_text("d.wav\tdora\tguten morgen\tgood morning\n")
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    return tmp_path


@pytest.mark.parametrize("guide", RUN)
def test_a_guide_can_be_followed(guide: str, workspace: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(workspace / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    commands = 0
    for block in blocks(SITE / guide):
        if block.language == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", PIP + block.content],
                cwd=workspace,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, block.content + done.stdout + done.stderr
            commands += 1
        elif block.title and not block.title.startswith("conf/"):
            path = workspace / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content, encoding="utf-8")
    assert commands


def options_of(command: str) -> set[str]:
    """The options that a command's help names."""
    if command.startswith("part_"):
        words = [sys.executable, "-m", f"espnet_part.bin.{command}"]
        where = ROOT
    else:
        words, where = [f"./{command}"], ROOT / "egs2/TEMPLATE/part"
    more = ["--help_all"] if command == "part_train" else ["--help"]
    done = subprocess.run([*words, *more], cwd=where, capture_output=True, text=True, check=True)
    return {*re.findall(r"--\w+", done.stdout), "--help"}


def test_commands_of_the_documents_have_the_options_that_are_shown() -> None:
    shown: dict[str, set[str]] = {}
    for page in PAGES:
        for block in blocks(page):
            if block.language != "bash":
                continue
            for line in block.content.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for at, word in enumerate(words):
                    name = {"run.sh": "part.sh"}.get(Path(word).name, Path(word).name)
                    if re.fullmatch(r"part_\w+|part\.sh|baseline\.sh", name):
                        given = (w.split("=")[0] for w in words[at + 1 :])
                        shown.setdefault(name, set()).update(
                            w for w in given if re.fullmatch(r"--\w+", w)
                        )
                        break
    assert {"part.sh", "part_describe", "part_compare", "part_score"} <= set(shown)
    own = {
        f"--{name}"
        for run in ROOT.glob("egs2/*/part/run.sh")
        for names in re.findall(r'^own_options "(.+?)"', run.read_text("utf-8"), re.MULTILINE)
        for name in names.split()
    }
    wrong = {
        command: lacking
        for command, given in shown.items()
        if (lacking := given - options_of(command) - (own if command == "part.sh" else set()))
    }
    assert wrong == {}
