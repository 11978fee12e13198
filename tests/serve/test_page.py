"""The page in a real browser: a file, a microphone, keys, narrow and wide, light and dark."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from espnet_part.decode.detect import together
from tests.report.page.browser import CHROMIUM, Browser, started_browser
from tests.serve.conftest import Running
from tests.serve.fake import Fake

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

TRAINED_ON = frozenset({("asr", "de", "de"), ("s2tt", "de", "en"), ("asr", "en", "en")})
OUTSIDE = """
[...document.querySelectorAll('body *')].filter(e => e.checkVisibility()
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 200))
"""
SEGMENTS = "[...document.querySelectorAll('#segments span')].map(e => e.textContent)"
UNLABELLED = """
[...document.querySelectorAll('input, select, button')].filter(e => e.checkVisibility()
    && !e.labels?.length && !e.textContent.trim()).map(e => e.outerHTML)
"""


@pytest.fixture(scope="module")
def spoken(talk: Any) -> Path:
    """What the microphone hears, over and over."""
    path: Path = talk(-0.5, 2.0, -1.0, 1.5, -2.0, suffix=".wav")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, spoken: Path) -> Iterator[Browser]:
    options = ["use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"]
    options += [
        f"use-file-for-fake-audio-capture={spoken}",
        "autoplay-policy=no-user-gesture-required",
    ]
    profile = tmp_path_factory.mktemp("chromium") / "profile"
    with started_browser(profile, *(f"--{option}" for option in options)) as started:
        started.ask("DOM.enable")
        yield started


@pytest.fixture
def fake() -> Fake:
    model = Fake()
    model.trained_on = TRAINED_ON
    return model


def visit(browser: Browser, server: Running, width: int = 1280) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/", width)
    wait(
        browser,
        "document.documentElement.dataset.ready || !document.getElementById('key-field').hidden",
    )


def wait(browser: Browser, expression: str, seconds: float = 90.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := browser.value(expression)):
        assert time.monotonic() < end, (expression, browser.value("document.body.innerText"))
        time.sleep(0.1)
    return value


def speak(browser: Browser, code: str) -> None:
    """Choose the language that is spoken."""
    browser.value(
        f"{{const s = document.getElementById('language'); s.value = '{code}';"
        "s.dispatchEvent(new Event('change'))}"
    )


def choose(browser: Browser, path: Path) -> None:
    document = browser.ask("DOM.getDocument")["root"]["nodeId"]
    found = browser.ask("DOM.querySelector", nodeId=document, selector="#file")
    browser.ask("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(path)])


def test_a_file_becomes_segments_that_can_be_heard(browser, start, fake, spoken, tmp_path):
    server = start(fake)
    visit(browser, server)
    names = "[...document.querySelectorAll('#{} option')].map(e => e.textContent)"
    assert browser.value(names.format("language")) == ["Detect", "English", "German"]
    assert browser.value(names.format("target")) == ["The language spoken", "English"]
    speak(browser, "en")
    assert browser.value(names.format("target")) == ["English"]
    speak(browser, "de")
    assert browser.value(names.format("target")) == ["German", "English"]
    choose(browser, spoken)
    wait(browser, "!document.getElementById('downloads').hidden")
    want = server.post(spoken, language="de", response_format="verbose_json").json
    assert browser.value(SEGMENTS) == [each["text"] for each in want["segments"]]
    assert browser.value("document.getElementById('status').textContent").startswith("Done: 00:07")
    browser.value("document.querySelectorAll('#segments button')[1].click()")
    at = wait(browser, "document.getElementById('player').currentTime")
    assert at >= want["segments"][1]["start"]
    wait(browser, "!document.querySelector('.playing')")
    assert fake.batches[0][0][0].stratum == ("asr", "de", "de")
    # a translation
    browser.value("document.getElementById('target').value = 'en'")
    choose(browser, spoken)
    wait(browser, "!document.getElementById('downloads').hidden")
    assert fake.batches[-1][0][0].stratum == ("s2tt", "de", "en")
    assert browser.complaints == []
    own = f"127.0.0.1:{server.port}"
    assert {url.split("/")[2] for url in browser.requests if not url.startswith("blob:")} == {own}
    browser.value("HTMLAnchorElement.prototype.click = () => {}")  # nothing is saved
    saved = []
    for form in ("txt", "srt", "vtt"):
        saved.append(
            browser.value(
                "new Promise(done => { const create = URL.createObjectURL; URL.createObjectURL = b => {"
                "b.text().then(done); URL.createObjectURL = create; return create(b); };"
                f"document.querySelector('[data-form={form}]').click(); }})"
            )
        )
    for form, content in zip(("text", "srt", "vtt"), saved, strict=True):
        assert (
            content == server.post(spoken, "translations", language="de", response_format=form).text
        )


def test_what_is_spoken_is_detected_and_said_with_how_certain_that_is(browser, start, fake, spoken):
    visit(browser, start(fake))
    choose(browser, spoken)
    wait(browser, "!document.getElementById('downloads').hidden")
    certainty = round(100 * together([fake.spoken(2.0)] * 2)[0].probability)
    said = f"Detected: German, {certainty} % certain"
    assert browser.value("document.getElementById('spoken').textContent") == said
    assert browser.value("document.getElementById('status').textContent").endswith(f" {said}.")
    assert browser.value("document.querySelector('#segments span').lang") == "de"
    assert fake.batches[0][0][0].stratum == ("asr", "de", "de")
    browser.value("document.getElementById('target').value = 'en'")  # from German alone
    choose(browser, spoken)
    wait(browser, "!document.getElementById('downloads').hidden")
    assert browser.value("document.getElementById('spoken').textContent") == "Detected: German"
    assert fake.batches[-1][0][0].stratum == ("s2tt", "de", "en")
    speak(browser, "en")
    choose(browser, spoken)
    wait(browser, "!document.getElementById('downloads').hidden")
    assert browser.value("document.getElementById('spoken').textContent") == ""
    assert browser.complaints == []


def test_a_model_of_one_language_has_nothing_to_detect(browser, start, fake):
    fake.trained_on = frozenset({("asr", "de", "de"), ("s2tt", "de", "en")})
    visit(browser, start(fake))
    names = "[...document.querySelectorAll('#language option')].map(e => e.textContent)"
    assert browser.value(names) == ["German"]


@pytest.mark.parametrize("language", ["", "de"])
def test_the_microphone_is_heard(browser, start, fake, language):
    server = start(fake, partial_seconds=0.3)
    visit(browser, server)
    speak(browser, language)
    browser.value("document.getElementById('record').click()")
    wait(browser, "document.getElementById('partial').textContent.trim().split(' ').length > 1")
    browser.value("document.getElementById('stop').click()")
    wait(browser, "!document.getElementById('downloads').hidden")
    assert len(browser.value(SEGMENTS)) >= 2
    browser.value("document.querySelector('#segments button').click()")
    wait(browser, "document.getElementById('player').currentTime > 0")
    assert (" % certain" in browser.value("document.body.innerText")) == (language == "")
    assert browser.complaints == []


def test_a_bad_file_is_named_and_the_page_goes_on(browser, start, fake, tmp_path):
    (tmp_path / "bad.mp3").write_bytes(b"no audio" * 100)
    server = start(fake)
    visit(browser, server)
    choose(browser, tmp_path / "bad.mp3")
    said = wait(browser, "document.getElementById('problem').textContent")
    assert said.startswith("file: not readable as audio")
    assert not browser.value("document.getElementById('file').disabled")


def test_a_key_is_asked_for(browser, start, fake):
    server = start(fake, keys=["right-key-1"])
    visit(browser, server)
    assert "no API key" in browser.value("document.getElementById('problem').textContent")
    browser.value(
        "{const key = document.getElementById('key'); key.value = 'right-key-1';"
        "key.dispatchEvent(new Event('change'))}"
    )
    wait(browser, "document.documentElement.dataset.ready")
    assert browser.value("document.getElementById('problem').hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_used_by_all(browser, start, fake, spoken, tmp_path, width, scheme):
    server = start(fake)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.ask("Emulation.setEmulatedMedia", features=features)
    visit(browser, server, width)
    choose(browser, spoken)
    wait(browser, "!document.getElementById('downloads').hidden")
    assert browser.value(OUTSIDE) == [] and browser.value(UNLABELLED) == []
    assert browser.value("document.documentElement.lang") == "en"
    browser.screenshot(tmp_path / "page.png")
    tab = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    reached = []
    browser.value("document.activeElement.blur()")
    for _ in range(9):
        for kind in ("keyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=kind, **tab)
        reached.append(browser.value("document.activeElement.id || document.activeElement.tagName"))
        style = "getComputedStyle(document.activeElement).outlineStyle"
        assert browser.value(style) == "solid", reached
    assert {"language", "target", "file", "record"} <= set(reached)
    assert browser.complaints == []
