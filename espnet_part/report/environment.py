"""What a report was made with: versions, and the state of the package's own source."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path

from espnet_part.document import Block, Bullets, Heading
from espnet_part.versions import MODEL_PACKAGES, installed_versions


def environment(level: int = 2) -> list[Block]:
    """ESPnet's section of that name."""
    lines: list[str | Bullets] = [
        f"date: `{datetime.datetime.now().astimezone():%a %b %d %H:%M:%S %Z %Y}`",
        f"python version: `{platform.python_version()}`",
    ]
    versions = installed_versions(MODEL_PACKAGES)
    for package in MODEL_PACKAGES:
        known = package in versions
        lines.append(
            f"{package} version: `{versions[package]}`" if known else f"{package}: not installed"
        )
    commit = _git("rev-parse", "HEAD")
    if commit:
        changed = " (with uncommitted changes)" if _git("status", "--porcelain", "-uno") else ""
        lines.append(f"Git hash: `{commit}`{changed}")
        lines.append(Bullets([f"Commit date: `{_git('log', '-1', '--format=%cd')}`"]))
    return [Heading(level, "Environments"), Bullets(lines)]


def _git(*arguments: str) -> str:
    """Ask git about the package's own source; empty where it is no checkout or git is missing."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
