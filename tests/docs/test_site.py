"""The documentation's site: what `tools/docs.sh` builds."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, SITE
from tests.report.page.browser import CHROMIUM, Browser, started_browser

needs_mkdocs = pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("mkdocs", "material", "latex2mathml")),
    reason="the extra docs is not installed; tools/setup.sh --extras docs",
)


def build(config: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `tools/docs.sh` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [*command, "--config-file", str(config), "--site-dir", str(to)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    to = tmp_path_factory.mktemp("built") / "site"
    done = build(ROOT / "docs/mkdocs.yml", to)
    assert done.returncode == 0, done.stdout + done.stderr
    return to


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started_browser(tmp_path_factory.mktemp("chromium") / "profile") as started:
        yield started


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_command_s_help_has_its_place() -> None:
    commands = {path.stem for path in (ROOT / "espnet_part/bin").glob("part_*.py")}
    page = (SITE / "reference/commands.md").read_text(encoding="utf-8")
    shown = re.findall(r"^<!-- help of (.+) -->$", page, re.MULTILINE)
    assert sorted(shown) == sorted({*commands, "part.sh", "baseline.sh"})
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == shown


@needs_mkdocs
def test_pages_hold_what_they_take_from_elsewhere(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")
    assert "usage: part_validate_data [-h]" in commands
    assert "--stop_stage" in commands
    reference = (site / "reference/python.html").read_text(encoding="utf-8")
    assert "espnet_part.decode.speech2text.Speech2Text.from_pretrained" in reference
    assert "<math" in (site / "method.html").read_text(encoding="utf-8")
    assert "encoder.layers[-8:]" in (site / "reference/schedule.html").read_text(encoding="utf-8")
    assert (site / "espnet_part/compare/published.yaml").is_file()  # a link leads to a copy
    assert (site / "egs2/mini_multilingual/part/figures/evidence_systems.png").is_file()


@needs_mkdocs
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 20
    loads = re.compile(
        r"<(?:script|img|link|iframe|source)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//"
    )
    assert [str(p) for p in pages if loads.search(p.read_text(encoding="utf-8"))] == []
    styles = [*site.rglob("*.css")]
    foreign = re.compile(r"url\([\"']?(?:https?:)?//|@import")
    assert [str(p) for p in styles if foreign.search(p.read_text(encoding="utf-8"))] == []


@needs_mkdocs
def test_links_that_lead_nowhere_are_errors(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for path in ROOT.iterdir():
        if path.name in ("conf", "egs2", "espnet_part", "tools") or path.suffix == ".md":
            (tmp_path / path.name).symlink_to(path)
    with (tmp_path / "docs/site/howto/task.md").open("a", encoding="utf-8") as page:
        page.write("\n[a](../../../conf/none.yaml) [b](evidence.md#no-such-heading)\n")
    done = build(tmp_path / "docs/mkdocs.yml", tmp_path / "out")
    assert done.returncode == 1
    assert "link '../../../conf/none.yaml', but the target" in done.stderr
    assert "does not contain an anchor '#no-such-heading'" in done.stderr


#: Pages with what may be wider than a phone: tables, equations, code, signatures, pictures.
WIDE = ["index", "method", "reference/commands", "reference/python", "tutorial/python"]
WIDE += ["egs2/mini_multilingual/part/EVIDENCE"]


@needs_mkdocs
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [390, 1300])
def test_pages_fit_the_window(width: int, address: str, browser: Browser) -> None:
    for page in WIDE:
        browser.open(f"{address}/{page}.html", width)
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.value(over) <= 0, page
        assert [url for url in browser.requests if not url.startswith(address)] == []
        assert browser.complaints == [], page
