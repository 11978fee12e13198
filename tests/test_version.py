"""The version stands in one place, and all that must repeat it agrees."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_part import __version__
from espnet_part.versions import installed_versions

ROOT = Path(__file__).parents[1]


def released() -> re.Match[str]:
    """The first heading of a version in the changelog."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", text, re.MULTILINE)
    assert found is not None
    return found


def test_setup_takes_the_version_from_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == __version__
    assert __version__ not in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == released()[0]
    assert released()[1] == __version__


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert str(citation["date-released"]) == released()[2]
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert f'license="{citation["license"]}"' in setup


def test_the_installed_package_is_of_this_version() -> None:
    installed = importlib.metadata.version("espnet_part")
    if installed != __version__:
        pytest.skip(f"installed as {installed}, before this version; tools/setup.sh --force true")
    assert installed == __version__


def test_tables_and_packed_models_name_the_source_s_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An editable installation's own word is as old as the installation."""
    monkeypatch.setattr("espnet_part.versions.version", lambda package: "0.0.1")
    assert installed_versions(["torch", "espnet_part"]) == {
        "torch": "0.0.1",
        "espnet_part": __version__,
    }


def test_packages_that_are_not_installed_are_left_out() -> None:
    assert list(installed_versions(["numpy", "no-such-package"])) == ["numpy"]
