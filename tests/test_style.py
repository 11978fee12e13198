"""Files are what .editorconfig says, and pre-commit checks what tools/test.sh checks."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PICTURES = {".png", ".pdf"}


def written_files() -> list[Path]:
    """The files of the repository that people write; none where this is no checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    paths = [ROOT / name for name in names if name]
    return [p for p in paths if p.is_file() and not p.is_symlink() and p.suffix not in PICTURES]


def test_files_are_as_editorconfig_says() -> None:
    config = configparser.ConfigParser()
    config.read_string("[top]\n" + (ROOT / ".editorconfig").read_text(encoding="utf-8"))
    every = config["*"]
    assert (every["charset"], every["end_of_line"]) == ("utf-8", "lf")
    assert every.getboolean("insert_final_newline") and every.getboolean("trim_trailing_whitespace")

    wrong = []
    paths = written_files()
    assert len(paths) > 500
    for path in paths:
        content = path.read_bytes()
        content.decode("utf-8")
        name = path.relative_to(ROOT)
        if b"\r\n" in content:
            wrong.append(f"{name}: CRLF")
        if content and not content.endswith(b"\n"):
            wrong.append(f"{name}: no newline at its end")
        if re.search(rb"[ \t]$", content, re.MULTILINE):
            wrong.append(f"{name}: spaces at the end of a line")
    assert wrong == []


def test_pre_commit_runs_the_checks_of_the_test_command() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}  # nothing is downloaded

    script = (ROOT / "tools/test.sh").read_text(encoding="utf-8")
    checks = re.findall(r'^ *check "(.+?)" (.+?)(?: "\$\{shell_files.*)?$', script, re.MULTILINE)
    assert len(checks) >= 4
    commands = {hook["name"]: hook["entry"] for hook in hooks}
    assert commands.keys() == {name for name, _ in checks}
    for name, command in checks:
        assert command in commands[name]
