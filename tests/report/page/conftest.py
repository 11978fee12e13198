"""What the tests of report.html share."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_part.bin.part_report import main
from tests.report.page.make import make_recipe


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with its report; tests do not change it."""
    root = tmp_path_factory.mktemp("recipe")
    options = make_recipe(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        main(options)
    return root


@pytest.fixture
def own_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A recipe of one's own in the current directory, and the options for its report."""
    monkeypatch.chdir(tmp_path)
    return make_recipe(tmp_path)
