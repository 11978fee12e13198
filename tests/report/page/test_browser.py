"""report.html in a real browser: nothing to complain of, nothing asked for, fit for a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.report.page.browser import CHROMIUM, Browser, started_browser
from tests.report.page.test_build import SECTIONS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WIDTHS = [390, 1280]
SHOWN = "[...document.querySelectorAll('section')].filter(s => s.checkVisibility()).map(s => s.id)"
#: What sticks out of the page, though it does not stand in a box that scrolls.
OUTSIDE = """
[...document.querySelectorAll('main *, header *')].filter(e => !e.closest('.wide')
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 200))
"""
HEARD = """
Promise.all([...document.querySelectorAll('audio')].map(a => new Promise(done => {
    if (a.readyState > 0) done(a.duration);
    a.onloadedmetadata = () => done(a.duration);
    a.onerror = () => done(a.error.message);
})))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started_browser(tmp_path_factory.mktemp("chromium") / "profile") as started:
        yield started


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_drawn_without_a_complaint_and_without_a_network(browser, recipe, tmp_path, width):
    browser.open(recipe / "exp/report.html", width)
    assert browser.complaints == [] and browser.requests == []
    assert browser.value(SHOWN) == SECTIONS
    assert browser.value("document.title").startswith('Results & "quotes" <script>')
    browser.screenshot(tmp_path / "page.png", height=900)
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out(browser, recipe, width):
    browser.open(recipe / "exp/report.html", width)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OUTSIDE) == []


def test_all_of_it_fits_on_paper(browser, recipe):
    browser.open(recipe / "exp/report.html", 794)  # A4
    browser.ask("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.value("document.documentElement.scrollWidth") == 794
        folded = "[...document.querySelectorAll('details table')].map(t => t.offsetHeight)"
        assert min(browser.value(folded)) > 0
        assert browser.value("document.querySelector('audio').offsetHeight") == 0
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="")


def test_audio_is_played_and_anchors_lead_to_their_sections(browser, recipe):
    browser.open(recipe / "exp/report.html", 1280)
    assert browser.value(HEARD) == [pytest.approx(2.0, abs=0.1)] * 4
    for anchor in SECTIONS:
        browser.value(f"document.querySelector('nav a[href=\"#{anchor}\"]').click()")
        assert browser.value("document.querySelector(':target').id") == anchor


def test_scripts_are_not_run_even_if_one_were_there(browser, recipe, tmp_path):
    text = (recipe / "exp/report.html").read_text(encoding="utf-8")
    evil = "<script>document.title = 'broken'</script><img src='http://127.0.0.1:9/x.png'>"
    (tmp_path / "evil.html").write_text(text.replace("</main>", f"{evil}</main>"), encoding="utf-8")
    browser.open(tmp_path / "evil.html", 1280)
    assert browser.value("document.title") != "broken"
    assert len(browser.complaints) == 2  # a browser that says nothing would prove nothing above
