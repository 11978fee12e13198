from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.tiny import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"
