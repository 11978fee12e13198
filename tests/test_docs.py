"""What the documents name exists, and what they say of the layers and of tests is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_imports import LAYERS

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "docs/design.md"]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/site/**/*.md"))

#: A path in back quotes that starts with a folder of the repository. Capitals stand for any name.
PATH = re.compile(r"`((?:espnet_part|tests|tools|conf|egs2|egs3|docs)/[\w./*-]+)`")
#: What a link of Markdown within the repository leads to.
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def exists(path: str) -> bool:
    """Whether there is such a file or folder, here or in a recipe; capitals stand for any name.

    What git ignores by its name is a user's own.
    """
    if Path(path).name in (ROOT / ".gitignore").read_text(encoding="utf-8").split():
        return True
    pattern = re.sub(r"(?<![\w.])[A-Z][A-Z_]*(?![\w.])", "*", path).replace("stageN", "stage*")
    return any(ROOT.glob(pattern)) or any(ROOT.glob(f"egs2/*/part/{pattern}"))


@pytest.mark.parametrize("document", [*DOCUMENTS, *PAGES])
def test_paths_in_the_documents_exist(document: str) -> None:
    paths = PATH.findall((ROOT / document).read_text(encoding="utf-8"))
    assert len(paths) > 5 or document in PAGES
    assert [path for path in paths if not exists(path)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_the_documents_lead_somewhere(document: str) -> None:
    links = LINK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_the_design_s_layers_are_those_that_are_enforced() -> None:
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```layers\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [set(line.split()) for line in block.splitlines()] == [*LAYERS]


def test_defects_of_peers_are_listed_beside_their_tests() -> None:
    text = (ROOT / "tests/PEER_DEFECTS.md").read_text(encoding="utf-8")
    listed = {
        (int(number), path, name)
        for number, tests in re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", text, re.MULTILINE)
        for path, name in re.findall(r"`([\w/.]+)::(\w+)`", tests)
    }
    written = {
        (int(number), str(path.relative_to(ROOT)), name)
        for path in ROOT.glob("tests/**/test_*.py")
        for name, number in re.findall(
            r"^def (test_peer_defect_(\d+)\w*)", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert listed == written
    assert {number for number, _, _ in listed} == set(range(1, 12))
