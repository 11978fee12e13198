"""The source distribution and the wheel: whole, well described, and at work outside of the checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pack.conftest import make_speech

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("build", "twine", "wheel")),
    reason="build, twine or wheel is not installed; tools/setup.sh --extras dev",
)


def run(*command: object, cwd: Path, **variables: str) -> str:
    """Run a command; return what it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both, built as a release is, but without a network."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "espnet_part", source / "espnet_part", ignore=ignored)
    run(sys.executable, "-m", "build", "--no-isolation", ".", cwd=source)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed apart from the checkout; what it requires is the environment's."""
    target = tmp_path_factory.mktemp("site")
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*install, "--target", target, wheel, cwd=target)
    return target


def test_descriptions_are_fit_for_a_package_index(distributions: Path) -> None:
    found = sorted(distributions.iterdir())
    assert [path.name.endswith((".tar.gz", ".whl")) for path in found] == [True, True]
    run(sys.executable, "-m", "twine", "check", "--strict", *found, cwd=distributions)


def test_the_wheel_holds_all_files_of_the_package(wheel: Path) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "espnet_part").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == here
    assert any(name.endswith(".yaml") for name in names)
    assert any(name.endswith(".jinja") for name in names)


def test_the_wheel_works_elsewhere(site: Path, packed: Path, master: Path, tmp_path: Path) -> None:
    import soundfile

    def command(name: str, *words: object) -> str:
        return run(
            *(sys.executable, site / "bin" / name, *words),
            cwd=tmp_path,
            PYTHONPATH=str(site),
            ESPNET_PART_CACHE=str(tmp_path / "cache"),
        )

    where = run(
        *(sys.executable, "-c", "import espnet_part; print(espnet_part.__file__)"),
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )
    assert Path(where.strip()).is_relative_to(site)
    commands = {path.stem for path in (ROOT / "espnet_part/bin").glob("part_*.py")}
    assert {path.name for path in (site / "bin").iterdir()} == commands
    for name in ("part_train", "part_transcribe"):
        assert f"usage: {name} " in command(name, "--help")

    soundfile.write(tmp_path / "speech.wav", make_speech(1)[0], 16000)
    words = ("speech.wav", "--model", packed, "--lang", "de", "--ngpu", "0", "--format", "json")
    assert '"speech.wav"' in command("part_transcribe", *words)

    references = master / "data/valid"
    scored = tmp_path / "exp/tiny/decode/valid"
    command(
        *("part_score", "--ref_dir", references, "--hyp_text", references / "text"),
        *("--out_dir", scored, "--name", "tiny"),
    )
    command("part_report", "--expdir", "exp")
    assert "<h1>RESULTS</h1>" in (tmp_path / "exp/report.html").read_text(encoding="utf-8")
